"""Losses that more than one head uses."""
