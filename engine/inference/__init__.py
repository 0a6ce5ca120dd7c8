"""Use of trained models: predictions of images of any size, by windows, views and ensembles."""
