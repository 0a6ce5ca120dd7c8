"""HTML pages and their fonts."""
