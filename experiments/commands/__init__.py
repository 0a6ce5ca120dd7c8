"""The commands of ``ablate``, one file each."""
