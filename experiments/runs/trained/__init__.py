"""Finished runs whose models predict masks."""
