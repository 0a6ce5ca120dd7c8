"""Run ``python -m encoder_ablations COMMAND``, which is the same as ``ablate COMMAND``."""

import sys

from encoder_ablations.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main())
