"""Run ``ablate train-net``: the official Mask2Former, trained by Detectron2."""

import sys

from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.commands.train_net import main

if __name__ == "__main__":
    sys.exit(command(main))
