"""What a dataset is, and how its files are read."""
