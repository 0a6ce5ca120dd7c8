"""From files on disk to samples and batches."""
