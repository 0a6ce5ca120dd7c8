"""Runs of a study as array jobs of SLURM, through submitit."""
