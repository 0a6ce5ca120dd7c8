"""Checkpoints: files, the best, the last and the top ones, averaged weights, frozen bodies."""
