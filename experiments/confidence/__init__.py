"""How sure finished runs are, and how far that can be relied on."""
