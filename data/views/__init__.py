"""What is done to a sample: augmentation, resampling, colours, warps."""
