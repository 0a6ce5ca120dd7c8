"""Studies: which runs they ask for, and how far they are."""
