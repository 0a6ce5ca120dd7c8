"""Code of a user's own, named by a reference ``package.module:name``."""
