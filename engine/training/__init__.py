"""The training loop, its callbacks, steps, optimiser and checkpoints."""
