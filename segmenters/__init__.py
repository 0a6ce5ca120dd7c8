"""Segmentation heads and their losses: feature pyramids to class scores."""
