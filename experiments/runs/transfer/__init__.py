"""A finished run evaluated on another dataset."""
