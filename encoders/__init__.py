"""Pretrained encoders: images to feature pyramids."""
