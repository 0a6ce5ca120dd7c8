"""Heads that need no labels: their texts, their place in a study, use without a run."""
