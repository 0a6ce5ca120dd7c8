"""Tuning: trials, choices, and what one recipe for all encoders would have said."""
