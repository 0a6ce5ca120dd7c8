"""Pretrained weights: reading files, translating names, loading."""
