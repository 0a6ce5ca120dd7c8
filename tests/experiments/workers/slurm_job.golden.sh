#!/bin/bash

# Parameters
#SBATCH --array=0-7%2
#SBATCH --cpus-per-task=8
#SBATCH --error=/study/slurm/%A_%a_0_log.err
#SBATCH --gres=gpu:1
#SBATCH --job-name=ablate-camvid
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=/study/slurm/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --signal=USR2@90
#SBATCH --time=240
#SBATCH --wckey=submitit

# setup
module load cuda
export DATASETS_ROOT=/scratch

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /study/slurm/%A_%a_%t_log.out --error /study/slurm/%A_%a_%t_log.err python -u -m submitit.core._submit /study/slurm
