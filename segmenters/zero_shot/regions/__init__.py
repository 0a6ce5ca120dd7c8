"""Regions of an image: by SAM, from a folder of masks, or superpixels."""
