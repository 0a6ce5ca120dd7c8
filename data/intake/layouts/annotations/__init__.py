"""Annotations that are drawn as masks: outlines, run lengths, segments, a mask per object."""
