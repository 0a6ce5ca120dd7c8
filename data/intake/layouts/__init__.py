"""How a folder of images and masks is laid out, and what its masks mean."""
