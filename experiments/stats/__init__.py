"""Statistics over seeds, images and rankings."""
