"""Losses of dense heads, one file each; see :mod:`encoder_ablations.segmenters.loss_registry`."""
