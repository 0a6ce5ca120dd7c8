"""What the records of a study show."""
