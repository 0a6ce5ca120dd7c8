"""Run ``ablate taps``: what an encoder gives, checked against its source."""

import sys

from encoder_ablations.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main(["taps", *sys.argv[1:]]))
