"""Federated runs: which images each client has, and what their records say."""
