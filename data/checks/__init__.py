"""Checks before every training; lint and its repair."""
