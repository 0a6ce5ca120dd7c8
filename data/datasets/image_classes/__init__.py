"""Datasets in which every image has one class: their files and their labels."""
