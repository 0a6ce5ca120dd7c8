"""Federated training: clients that train alone, and rounds in which their models are averaged."""
