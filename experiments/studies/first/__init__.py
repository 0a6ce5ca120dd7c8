"""The first study of a new dataset, as ``ablate init`` writes it."""
