"""Checks of datasets in which every image has one class."""
