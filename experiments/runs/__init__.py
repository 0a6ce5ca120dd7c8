"""One run: its settings, its folder, its record, and how it is computed."""
