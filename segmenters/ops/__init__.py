"""Operators of the heads: deformable attention, and upsampling with argmax."""
