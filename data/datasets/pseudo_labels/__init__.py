"""Masks that a trained model predicted for images without labels."""
