"""Run ``ablate taps``: what an encoder gives, checked against its source."""

import sys

from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.commands.taps import main

if __name__ == "__main__":
    sys.exit(command(main))
