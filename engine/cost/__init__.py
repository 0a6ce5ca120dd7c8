"""Parameters, FLOPs, latency and memory."""
