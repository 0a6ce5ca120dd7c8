"""What a run is for in a study that tunes settings."""
