"""Segmenters as models of other frameworks."""
