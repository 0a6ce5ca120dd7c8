"""Handing a model over: files for other programs, their check, a model card and an example."""
