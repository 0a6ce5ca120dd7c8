"""Segmentation heads, one file each; see :mod:`encoder_ablations.segmenters.registry`."""
