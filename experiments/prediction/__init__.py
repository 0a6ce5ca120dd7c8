"""Use of finished runs: which ones predict, and what is written about an image."""
