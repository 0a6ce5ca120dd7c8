"""Encoders as backbones of other frameworks."""
