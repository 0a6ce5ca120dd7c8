"""The table of encoders, one row each."""
