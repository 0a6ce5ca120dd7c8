"""Which images belong to which client of a federated training."""
