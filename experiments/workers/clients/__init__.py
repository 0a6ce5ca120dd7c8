"""Clients of one federated run that are computed by several processes of this machine."""
