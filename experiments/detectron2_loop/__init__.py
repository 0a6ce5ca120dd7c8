"""Detectron2's training loop on our encoders and datasets, with our records."""
