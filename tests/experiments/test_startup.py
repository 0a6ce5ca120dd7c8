"""Commands that compute nothing import nothing heavy, so that they answer at once."""

import subprocess
import sys

import pytest

from encoder_ablations.experiments.cli import summaries

HEAVY = ("torch", "timm", "transformers", "matplotlib", "pandas", "numba", "accelerate")
PROGRAM = f"""
import sys
from encoder_ablations.experiments.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as exit_:
    code = exit_.code
found = [name for name in {HEAVY} if name in sys.modules]
print(f"code {{code}}, imported {{found}}", file=sys.stderr)
"""

HELP = [(f"{name} --help", 0) for name in summaries()]
LISTINGS = [
    ("encoders", 0),
    ("heads", 0),
    ("heads eomt", 0),
    ("heads --losses", 0),
    ("keys", 0),
    ("keys segmenter", 0),
    ("status demo --table --output absent", 0),
    ("run demo --dry-run --output absent", 0),
]
REFUSALS = [
    ("encoders nonsense", 2),
    ("heads nonsense", 2),
    ("keys nonsense", 2),
    ("status absent/study", 2),
    ("report", 2),
    ("report absent", 2),
    ("run absent", 2),
    ("run demo --device gpu", 2),
    ("run demo recipe.stepz=1", 2),
    ("run demo segmenters=[linaer]", 2),
    ("run demo --processes 0", 2),
    ("demo --device gpu", 2),
    ("demo recipe.stepz=1", 2),
    ("train --encoder dinov2_b14", 2),
    ("train --encoder dinov2_b14 --dataset absent", 2),
    ("train --encoder dinov2_b14 --dataset camvid recipe.stepz=1", 2),
    ("train --encoder dinov2_b14 --dataset camvid --segmenter linaer", 2),
    ("train --encoder dinov2_b14 --dataset camvid --workers -1", 2),
    ("taps", 2),
    ("taps --encoder dinov2_b14 --size 3", 2),
    ("taps --encoder dinov2_b14 taps=7", 2),
    ("train --encoder absent.module:make --dataset absent", 2),
    ("train --encoder darknet_tiny --dataset camvid --segmenter absent.module:Head", 2),
    ("evaluate absent", 2),
    ("evaluate study", 2),
    ("evaluate study --split val", 2),
    ("evaluate study --dataset absent", 2),
    ("cache absent", 2),
    ("export absent --output absent", 2),
    ("export absent --output absent --format tflite", 2),
    ("cache camvid --short-side 3", 2),
    ("tile camvid --size 3", 2),
    ("init absent", 2),
    ("lint absent", 2),
    ("split absent", 2),
    ("confidence absent", 2),
    ("confidence absent --alpha 2", 2),
    ("worst absent", 2),
    ("worst study", 2),
]


@pytest.mark.parametrize(("line", "code"), HELP + LISTINGS + REFUSALS)
def test_nothing_heavy_is_imported(line, code, tmp_path):
    (tmp_path / "study" / "runs").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *line.split()],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stderr.splitlines()[-1] == f"code {code}, imported []", done.stderr
