"""Federated training between machines: what a server and its clients say to each other."""
