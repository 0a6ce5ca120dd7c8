"""Run ``ablate train-net``: the official Mask2Former, trained by Detectron2."""

import sys

from encoder_ablations.experiments.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-net", *sys.argv[1:]]))
