"""Run ``ablate evaluate``: a finished run's checkpoint again, or the results of a study."""

import sys

from encoder_ablations.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
