"""Numbers, titles and tables as text."""
