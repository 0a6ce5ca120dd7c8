"""Training and evaluation of segmenters, and what they cost."""
