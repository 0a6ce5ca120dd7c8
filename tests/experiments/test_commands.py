"""Commands that need no study: the lists, the check of taps and its pictures."""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.encoders import inspection
from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.table.lookup import ROWS
from encoder_ablations.experiments.cli import main, summaries


def test_help_names_every_command_and_is_quick(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in summaries())
    program = (
        "import sys; from encoder_ablations.experiments.cli import main; main([]); print('torch' "
        "in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("False"), "the help must not import torch"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ablate {version('encoder-ablations')}\n"


def test_a_misspelt_command_gets_the_nearest(capsys):
    """'lint' has as many letters of 'inti' as 'init' has, but begins with another."""
    assert main(["inti"]) == 2
    assert "Did you mean 'init'?" in capsys.readouterr().err


def test_an_unknown_device_is_refused_before_anything_is_said_or_made(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for device in ("gpu", "cuda:x", "cuda:"):
        assert main(["demo", "--device", device]) == 2
        out, error = capsys.readouterr()
        assert error == f"error: unknown device '{device}'. Allowed: auto, cpu, cuda, cuda:N.\n"
        assert not out
    assert not list(tmp_path.iterdir())


LONG = "x" * 5000
RUN = ["run", "demo", "--dry-run"]
TRAIN = ["train", "--encoder", "mae_b16", "--segmenter", "linear", "--dataset", "mars_terrain"]
MISTAKES = [
    ([*TRAIN, "encoder=5"], "encoder=5"),
    ([*TRAIN, "segmenter.lost=dice"], "the command line: unknown key 'lost'"),
    ([*TRAIN, "recipe.learning_rate=1"], "Did you mean 'recipe.optimizer.lr'"),
    ([*TRAIN, "recipe.mix=cutmix"], "Did you mean 'recipe.augmentation.mix'"),
    ([*TRAIN, "recipe.augmentation.mix=cutmix"], "probability"),
    ([*TRAIN[:-1], "/"], "ablate init /"),
    (["export", "x", "-o", "y", "--size", "512"], "512x512"),
    (["export", "x", "-o", "y", "--format", "coreml"], "onnx, torch, hf"),
    (["predict", "x", "y", "--post", "largest_only.car"], "largest_only=CLASS"),
    ([*TRAIN[:4], ".:Head", *TRAIN[5:]], "package.module:name"),
    ([*RUN, "seeds=abc"], "'seeds'"),
    ([*RUN, f"seeds=[1{'0' * 300}]"], "'seed'"),
    ([*RUN, "encoders=[5]"], "'encoders.0':"),
    ([*RUN, "encoders=[{base: 5}]"], "5 stands for none"),
    ([*RUN, "encoders=[{base: mae_b16, label: ' '}]"], "'label'"),
    ([*RUN, f"encoders=[{{base: mae_b16, label: {LONG}}}]"], "'label'"),
    ([*RUN, f"encoders=[{LONG}]"], "too long"),
    ([*RUN, f"encoders=[{{name: {LONG}}}]"], "unknown encoder"),
    ([*RUN, f"name={LONG}"], "'name'"),
    ([*RUN, f"recipe.steps={LONG}"], "'recipe.steps'"),
    ([*RUN, f"recipe.{LONG}=1"], "unknown key"),
    ([*RUN, "recipe..steps=1"], "override"),
    ([*RUN, "--output", LONG], "too long"),
    ([*RUN, "--output", ""], "empty"),
    (["run", f"{LONG}.yaml"], "too long"),
    (["run", "a\0.yaml"], "U+0000"),
    (["run", "demo", 'datasets=["a\\0b"]'], "no valid str"),
    (["run", "a\nb\u202e"], "unknown study"),
    ([LONG], "unknown command"),
]


@pytest.mark.parametrize(("arguments", "reason"), MISTAKES)
def test_a_mistake_is_one_short_line(arguments, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.endswith("\n")
    assert error.count("\n") == 1
    assert "\u202e" not in error
    assert len(error) < 1500  # some list what is allowed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", summaries())
def test_every_command_has_help_with_examples(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    assert f"ablate {name}" in capsys.readouterr().out.split("examples:")[1]


def test_encoders(capsys):
    assert main(["encoders", "dinov2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert "dinov2_b14" in lines[2]
    assert "86.6 M" in lines[2]
    assert "apache-2.0" in lines[2]


def test_no_column_of_encoders_runs_into_the_next(capsys):
    assert main(["encoders"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    for line, row in zip(lines, ROWS, strict=True):
        facts = read_facts()[row.name]
        assert line.split()[0] == row.name
        assert f" {facts.licence or '–'} " in line


def test_a_closed_pipe_is_no_failure():
    program = (
        "import sys; from encoder_ablations.experiments.cli import main; "
        "sys.exit(main(['encoders']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert b"BrokenPipe" not in process.stderr.read()
    assert process.returncode == 0


def test_taps_with_an_image(tmp_path, capsys):
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:60, 40:80] = 255
    Image.fromarray(image).save(tmp_path / "photo.png")
    arguments = [
        "taps",
        "--encoder",
        "vit_tiny_patch16_224",
        "--image",
        str(tmp_path / "photo.png"),
    ]
    assert (
        main([*arguments, "--heatmaps", str(tmp_path / "out"), "weights=random", "channels=32"])
        == 0
    )
    out = capsys.readouterr().out
    assert "90×120" in out
    assert "48 patch tokens, 1 prefix token;" in out
    assert "p2: 32×23×30, stride 4" in out
    assert "equal" in out
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(
        [*(f"tap{i}.png" for i in range(4)), *(f"p{i}.png" for i in range(2, 6)), "overview.png"]
    )
    assert Image.open(tmp_path / "out" / "tap0.png").size == (120, 90)


def test_taps_of_every_size(capsys):
    assert main(["taps", "--encoder", "darknet_tiny", "--size", "70x100", "channels=32"]) == 0
    assert "p5: 32×3×4, stride 32" in capsys.readouterr().out


def test_taps_of_a_hierarchical_encoder(capsys):
    arguments = ["taps", "--encoder", "test_convnext", "--size", "70x100", "weights=random"]
    assert main([*arguments, "neck=none"]) == 0
    out = capsys.readouterr().out
    assert "9 blocks; images are padded to multiples of 32" in out
    assert "tap 3 (stage 5): 64×3×4, stride 32" in out
    assert "p2: 24×18×25, stride 4" in out
    assert "equal" in out


def test_taps_that_differ_from_the_source_are_an_error(capsys, monkeypatch):
    monkeypatch.setattr(
        inspection, "_noise", lambda height, width: torch.full((1, 3, height, width), torch.nan)
    )
    assert (
        main(["taps", "--encoder", "vit_tiny_patch16_224", "--size", "32x32", "weights=random"])
        == 1
    )
    assert "DIFFERENT" in capsys.readouterr().out
