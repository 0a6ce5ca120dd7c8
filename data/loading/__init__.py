"""Batches, balanced sampling, and decoded samples in memory or on disk."""
