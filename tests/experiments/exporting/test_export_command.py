"""``ablate export``: folders that others use without this package."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.engine.export.errors import ExportError
from encoder_ablations.engine.export.photo_model import PhotoModel
from encoder_ablations.engine.export.spec import ExportSpec
from encoder_ablations.engine.export.tracing import trace
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.exporting import exporting, hub
from encoder_ablations.experiments.exporting.check_images import check_images
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import make_predictor

ISOLATED = """
import runpy, sys
sys.path.append(sys.argv[1])
for name in ("encoder_ablations", "torch"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} can be imported")
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEEDED = ("numpy", "PIL", "onnxruntime", "google", "flatbuffers", "packaging")


def export(*arguments):
    return main(["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def run(study):
    return chosen_runs(study)[0]


@pytest.fixture(scope="module")
def predictor(run):
    return make_predictor([run], InferenceSpec(), torch.device("cpu"))


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def onnx_folder(study, tmp_path_factory):
    """The study's best run as ONNX."""
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert export(study, "-o", folder) == 0
    return folder


@pytest.fixture(scope="module")
def hf_folder(study, tmp_path_factory):
    """The study's best run for transformers."""
    folder = tmp_path_factory.mktemp("exported") / "hf"
    assert export(study, "-o", folder, "--format", "hf") == 0
    return folder


@pytest.fixture(scope="module")
def torch_folder(study, tmp_path_factory):
    """The study's best run as a program of PyTorch."""
    folder = tmp_path_factory.mktemp("exported") / "torch"
    assert export(study, "-o", folder, "--format", "torch", "--size", "64x64") == 0
    return folder


@pytest.fixture
def isolated_packages(tmp_path):
    """A folder that holds what the example needs, and nothing else."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in NEEDED:
        (location,) = importlib.util.find_spec(name).submodule_search_locations
        (folder / name).symlink_to(location)
    for libraries in Path(np.__file__).parent.parent.glob("*.libs"):
        (folder / libraries.name).symlink_to(libraries)
    return folder


def test_the_example_runs_without_this_package(
    onnx_folder, predictor, photo, isolated_packages, tmp_path
):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    # -I and -S: no environment variables, no site-packages
    command = [sys.executable, "-I", "-S", "-c", ISOLATED, isolated_packages]
    command += [onnx_folder / "example.py", "photo.png"]
    for further in ([], ["masks"]):
        done = subprocess.run(
            [*command, *further], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        # nothing is written where no folder is named
        written = {path.name for path in tmp_path.iterdir()} - {"packages"}
        assert written == {"photo.png", *further}
    expected = predictor.predict(photo)
    mask = read_ids(tmp_path / "masks" / "photo.mask.png")
    assert (mask == expected.mask).mean() > 0.999
    assert Image.open(tmp_path / "masks" / "photo.overlay.png").size == (64, 64)
    common = max(expected.pixels, key=expected.pixels.get)
    assert f"{100 * expected.pixels[common] / 64**2:.2f} %" in done.stdout


def test_the_folder_describes_the_model(onnx_folder, run, capsys):
    assert sorted(path.name for path in onnx_folder.iterdir()) == [
        "README.md",
        "classes.json",
        "example.py",
        "model.onnx",
    ]
    facts = json.loads((onnx_folder / "classes.json").read_text())
    assert [each["name"] for each in facts["classes"]] == ["background", "crater", "boulder"]
    # the run resizes to a short side, so the file is for the size of its images
    assert facts["size"] == [64, 64]
    card = (onnx_folder / "README.md").read_text()
    assert run.record.run_id in card
    assert f"{100 * run.record.metrics.miou:.2f} %" in card
    assert "2 seeds" in card
    assert card.count("range") == 1
    assert "short_side: 48" in card
    assert "4 validation images" in card
    assert "random weights" in card
    assert "${" not in card


def test_a_program_of_torch_predicts_the_same(torch_folder, predictor, photo):
    module = torch.export.load(torch_folder / "model.pt2").module()
    labels, _ = module(torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous())
    assert (labels[0].numpy() == predictor.predict(photo).mask).mean() > 0.999


def test_transformers_loads_the_folder(hf_folder, predictor):
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    from encoder_ablations.segmenters.frameworks.transformers_segmenter import register

    register()
    model = AutoModelForSemanticSegmentation.from_pretrained(hf_folder)
    assert model.config.id2label == {0: "background", 1: "crater", 2: "boulder"}
    processor = AutoImageProcessor.from_pretrained(hf_folder)
    # not square, and no multiple of a stride
    image = np.random.default_rng(1).integers(0, 256, (70, 51, 3), np.uint8)
    with torch.no_grad():
        outputs = model(**processor(Image.fromarray(image), return_tensors="pt"))
    (mask,) = processor.post_process_semantic_segmentation(outputs, [(70, 51)])
    expected = predictor.predict(image)
    assert (mask.numpy() == expected.mask).mean() > 0.999
    found = outputs.logits.softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(found, expected.probabilities, atol=1e-5)


def test_pipelines_of_transformers_take_the_folder(hf_folder, predictor, photo):
    from transformers import pipeline

    segment = pipeline("image-segmentation", model=str(hf_folder), device="cpu")
    found = {
        each["label"]: np.asarray(each["mask"]) > 0 for each in segment(Image.fromarray(photo))
    }
    expected = predictor.predict(photo).mask
    for number, name in enumerate(predictor.classes):
        none = np.zeros_like(expected, bool)
        assert (found.get(name, none) == (expected == number)).mean() > 0.999


def test_the_snippets_of_the_guide_run(
    onnx_folder, torch_folder, hf_folder, predictor, photo, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("photo.png")
    folders = {"exported": onnx_folder, "exported-torch": torch_folder, "exported-hf": hf_folder}
    for name, folder in folders.items():
        Path(name).symlink_to(folder)
    guide = Path(__file__).parents[3] / "docs" / "export.md"
    snippets = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    assert len(snippets) == len(folders)
    expected = predictor.predict(photo).mask
    for snippet in snippets:
        names = {}
        # a file without loss, so that the pixels are the same
        exec(snippet.replace("photo.jpg", "photo.png"), names)
        found = names.get("mask", names.get("labels"))
        assert (np.asarray(found).reshape(64, 64) == expected).mean() > 0.999


def test_what_cannot_be_of_any_size_is_of_one_and_says_why(
    run, predictor, tmp_path, monkeypatch, capsys
):
    def trace_one_size(model):
        if model.size is None:
            raise ExportError("cannot", RuntimeError("planted"))
        return trace(model)

    monkeypatch.setattr(exporting, "trace", trace_one_size)
    (member,) = predictor.members
    unresized = Predictor([Member(member.segmenter)], predictor.classes)
    images = check_images(run.record.spec)
    spec = ExportSpec(format="torch")
    log = tmp_path / "out.log"
    exported = exporting.write_model(run, unresized, spec, images, tmp_path, log)
    assert exported.sized.size == (64, 64)
    # the library's words are in the log alone
    assert "any size" in exported.sized.reason
    assert "planted" not in exported.sized.reason
    assert "planted" in log.read_text()
    out = capsys.readouterr().out
    assert str(log) in out
    assert "planted" not in out
    assert out.index("any size") < out.index("checking") < out.index("timing")
    assert json.loads((tmp_path / "classes.json").read_text())["size"] == [64, 64]


def test_what_cannot_be_exported_leaves_a_log_alone(study, tmp_path, monkeypatch, capsys):
    def broken(model):
        raise ExportError("this model is impossible.", RuntimeError("s0 is\nguarded"))

    monkeypatch.setattr(exporting, "trace", broken)
    assert export(study, "-o", tmp_path / "out", "--format", "torch") == 2
    error = capsys.readouterr().err
    assert "this model is impossible." in error
    assert "out.log" in error
    assert "s0" not in error
    (log,) = tmp_path.iterdir()
    assert "s0 is\nguarded" in log.read_text()


def test_a_model_that_predicts_something_else_is_not_kept(study, tmp_path, monkeypatch, capsys):
    class Wrong(PhotoModel):
        def forward(self, photos):
            labels, probabilities = super().forward(photos)
            return (labels + 1) % 3, probabilities

    monkeypatch.setattr(exporting, "PhotoModel", Wrong)
    assert export(study, "-o", tmp_path / "out", "--format", "torch") == 1
    assert "100.0000 %" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_transformers_shows_no_bars_of_its_own(study, tmp_path, capfd):
    assert export(study, "-o", tmp_path / "out", "--format", "hf") == 0
    assert "%|" not in capfd.readouterr().err


def test_without_the_dataset_random_images_are_compared(run, tmp_path, terrain_folder, capsys):
    away = terrain_folder.with_name("away")
    terrain_folder.rename(away)
    try:
        assert export(run.folder, "-o", tmp_path / "out", "--format", "hf") == 0
    finally:
        away.rename(terrain_folder)
    assert "random pixels" in capsys.readouterr().out
    assert "random pixels" in (tmp_path / "out" / "README.md").read_text()


def test_uploads_go_through_the_hubs_api(study, tmp_path, monkeypatch, capsys):
    calls = []

    class Hub:
        def create_repo(self, **options):
            calls.append(options)
            return "https://huggingface.co/me/model"

        def upload_folder(self, **options):
            calls.append(options)

    monkeypatch.setattr(hub, "HfApi", Hub)
    out = tmp_path / "out"
    assert export(study, "-o", out, "--format", "hf", "--push-to-hub", "me/model") == 0
    assert calls == [
        {"repo_id": "me/model", "exist_ok": True},
        {"repo_id": "me/model", "folder_path": out},
    ]
    assert "https://huggingface.co/me/model" in capsys.readouterr().out

    class Closed(Hub):
        def upload_folder(self, **options):
            raise OSError("no token")

    monkeypatch.setattr(hub, "HfApi", Closed)
    other = tmp_path / "other"
    assert export(study, "-o", other, "--format", "hf", "--push-to-hub", "me/model") == 2
    assert "no token" in capsys.readouterr().err
    assert (other / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "tflite"], "onnx"),
        (["--size", "8x64"], "32"),
        (["--size", "64"], "size"),
        (["--size", "axb"], "size"),
        (["--precision", "fp4"], "fp16"),
        (["--precision", "fp16", "--format", "torch"], "onnx"),
        (["--size", "64x64", "--format", "hf"], "any size"),
        (["--runs", "*"], "ensemble"),
        (["--runs", "absent"], "absent"),
    ],
)
def test_wrong_options_are_one_line(study, tmp_path, capsys, options, said):
    assert export(study, "-o", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not list(tmp_path.iterdir())


def test_folders_and_packages_that_do_not_do_are_one_line(
    study, run, tmp_path, monkeypatch, capsys
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert export(study, "-o", tmp_path / "full") == 2
    assert "exists already" in capsys.readouterr().err
    copy = tmp_path / run.folder.name
    shutil.copytree(run.folder, copy)
    (copy / "record.json").unlink()
    assert export(copy, "-o", tmp_path / "out") == 2
    assert "has not finished" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(study, "-o", tmp_path / "out") == 2
    assert "encoder-ablations[export]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
