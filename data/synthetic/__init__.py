"""The generator of Mars-like terrain."""
