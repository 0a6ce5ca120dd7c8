"""Confusion matrices, the metrics computed from them, and evaluation over a set of images."""
