"""The HTML page, its tables and files."""
