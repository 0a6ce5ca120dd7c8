"""Texts: vocabularies, prompts, and the features that a text tower gives them."""
