"""Necks: feature maps of a body to a pyramid."""
