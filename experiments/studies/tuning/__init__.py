"""Fair tuning: the same number of trials for every encoder, chosen on validation."""
