"""Segmentation by texts, without training: what the head ``zero_shot`` is made of."""
