"""What finished runs get wrong: images, classes, regions, and where encoders differ."""
