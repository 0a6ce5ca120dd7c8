"""The pretrained parts of encoders: images to feature maps."""
