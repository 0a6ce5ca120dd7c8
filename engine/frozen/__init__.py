"""A frozen body's features and their store on disk."""
