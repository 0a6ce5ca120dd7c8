"""Images and masks on their way in: recognised, divided and cut into tiles."""
