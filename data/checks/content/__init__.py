"""What images and masks show: pairs that stand out against the others of their dataset."""
