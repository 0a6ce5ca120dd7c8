"""Commands that compute nothing import nothing heavy, so that they answer at once."""

import json
import subprocess
import sys

import pytest

from encoder_ablations.experiments.cli import summaries

HEAVY = ("torch", "timm", "transformers", "matplotlib", "pandas", "numba", "accelerate")
# one process imports what every command imports, and forks for each command
PROGRAM = f"""
import contextlib, io, json, os, sys
from encoder_ablations.experiments.cli import main
import encoder_ablations.experiments.studies.study  # most commands import it

def loaded():
    return [name for name in {HEAVY} if name in sys.modules]

def answer(folder, words):
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(words)
        except BaseException as error:
            code = getattr(error, "code", repr(error))
    return code, loaded()

print(json.dumps(loaded()), flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(json.dumps(answer(*json.loads(line))), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
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
    ("run demo --dry-run --output planned", 0),
]
REFUSALS = [
    ("encoders nonsense", 2),
    ("heads nonsense", 2),
    ("keys nonsense", 2),
    ("status absent/study", 2),
    ("report", 2),
    ("plan absent", 2),
    ("plan demo --budget soon", 2),
    ("plan demo --power --output absent", 2),
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
    ("compare absent other", 2),
    ("compare study study", 2),
    ("report study --watch", 2),
    ("run demo --slurm time=soon", 2),
    ("worst absent", 2),
    ("worst study", 2),
]


@pytest.fixture(scope="module")
def server():
    """A process that runs commands, each in a copy of itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert json.loads(process.stdout.readline()) == []
        yield process
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize(("line", "code"), HELP + LISTINGS + REFUSALS)
def test_nothing_heavy_is_imported(line, code, tmp_path, server):
    (tmp_path / "study" / "runs").mkdir(parents=True)
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned" / "plan.json").write_text('{"device": "a CPU", "on_gpu": false}')
    server.stdin.write(json.dumps([str(tmp_path), line.split()]) + "\n")
    server.stdin.flush()
    assert json.loads(server.stdout.readline()) == [code, []]
