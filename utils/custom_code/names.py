"""How objects of a user's own code are told from built-in names."""


def is_reference(name: str) -> bool:
    """Return whether a name stands for an object of the user's own: ``package.module:name``."""
    return ":" in name
