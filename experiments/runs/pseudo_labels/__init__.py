"""Masks that a finished run predicts for training images that a run has no labels of."""
