"""``ablate train-net`` refuses bad input in one line that names the key; it ends with code 2."""

import pickle
from importlib.util import find_spec

import pytest
import torch
import yaml
from small_mask2former import FORMER, HEAD, OURS, SMALL

from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.commands.train_net import main

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")
if find_spec("mask2former") is None:
    pytest.skip("the official Mask2Former is not on PYTHONPATH", allow_module_level=True)

QUICK = SMALL | {"SOLVER.MAX_ITER": "1", "TEST.EVAL_PERIOD": "0"}
BAD_VALUES = [
    (f"{FORMER}.NUM_OBJECT_QUERIES", "0"),
    (f"{FORMER}.NUM_OBJECT_QUERIES", "-3"),
    (f"{FORMER}.NHEADS", "7"),
    (f"{FORMER}.NHEADS", "0"),
    (f"{FORMER}.HIDDEN_DIM", "33"),
    (f"{FORMER}.DIM_FEEDFORWARD", "0"),
    (f"{FORMER}.DEC_LAYERS", "1"),
    (f"{FORMER}.TRAIN_NUM_POINTS", "0"),
    (f"{FORMER}.OVERSAMPLE_RATIO", "0.5"),
    (f"{FORMER}.IMPORTANCE_SAMPLE_RATIO", "2.0"),
    (f"{FORMER}.NO_OBJECT_WEIGHT", "-1.0"),
    (f"{HEAD}.CONVS_DIM", "36"),
    (f"{HEAD}.MASK_DIM", "0"),
    (f"{HEAD}.TRANSFORMER_ENC_LAYERS", "-1"),
    (f"{HEAD}.COMMON_STRIDE", "0"),
    (f"{HEAD}.IGNORE_VALUE", "0"),
    (f"{HEAD}.IN_FEATURES", "[]"),
    ("MODEL.DEVICE", "gpu"),
    ("MODEL.DEVICE", "mps"),
    ("MODEL.DEVICE", "meta"),
    ("INPUT.MIN_SIZE_TRAIN", "()"),
    ("INPUT.MIN_SIZE_TRAIN", "('a',)"),
    ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "nope"),
    ("INPUT.MIN_SIZE_TEST", "0"),
    ("INPUT.MAX_SIZE_TRAIN", "0"),
    ("INPUT.MAX_SIZE_TEST", "-1"),
    ("INPUT.CROP.SIZE", "('a', 'b')"),
    ("INPUT.CROP.TYPE", "nope"),
    ("INPUT.CROP.TYPE", "relative"),
    ("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", "0.0"),
    ("SOLVER.OPTIMIZER", "LION"),
    ("SOLVER.BASE_LR", "1e400"),
    ("SOLVER.MOMENTUM", "-1.0"),
    ("SOLVER.WEIGHT_DECAY_EMBED", "-2.0"),
    ("SOLVER.WARMUP_FACTOR", "-1.0"),
    ("SOLVER.WARMUP_METHOD", "nope"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "nope"),
    ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "-1.0"),
    ("SOLVER.CHECKPOINT_PERIOD", "0"),
    ("SOLVER.REFERENCE_WORLD_SIZE", "3"),
    ("DATALOADER.NUM_WORKERS", "-1"),
    ("DATASETS.TRAIN", "(1,)"),
    ("SEED", "99999999999999999999"),
]
FAIL_WHILE_BUILDING = [
    (f"{FORMER}.TRANSFORMER_DECODER_NAME", "Nope"),
    (f"{FORMER}.TRANSFORMER_IN_FEATURE", "nope"),
    (f"{HEAD}.PIXEL_DECODER_NAME", "Nope"),
    (f"{HEAD}.NORM", "XX"),
    ("SOLVER.LR_SCHEDULER_NAME", "Nope"),
    ("DATALOADER.SAMPLER_TRAIN", "nope"),
]


@pytest.fixture(scope="module")
def dataset(terrain, tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "terrain.yaml"
    path.write_text(yaml.safe_dump(terrain.model_dump(mode="json")))
    return str(path)


@pytest.fixture
def refusal(dataset, tmp_path, capsys):
    """Return the one line that a command prints; it has failed with code 2."""

    def run(changes=None, argv=(), options=QUICK):
        given = options | {"OUTPUT_DIR": str(tmp_path / "out")} | (changes or {})
        words = [word for pair in given.items() for word in pair]
        chosen = argv or ("--encoder", "darknet_tiny", "--dataset", dataset)
        assert command(main, [*chosen, *words]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert line.startswith("error: ")
        return line

    return run


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
def test_a_value_that_is_not_allowed(refusal, tmp_path, key, value):
    assert key in refusal({key: value})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("key", "value"), FAIL_WHILE_BUILDING)
def test_what_cannot_be_built(refusal, tmp_path, key, value):
    assert f"Check {key} {value}." in refusal({key: value})
    assert not (tmp_path / "out" / "data.json").exists()  # the folder is not taken by this run


def test_an_error_while_building_without_a_known_value_lists_what_was_given(refusal):
    line = refusal({"DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler"})
    assert "DATALOADER.SAMPLER_TRAIN RepeatFactorTrainingSampler" in line


def test_a_backbone_of_detectron2_that_is_impossible(refusal, dataset):
    changes = {key: value for key, value in QUICK.items() if not key.startswith(OURS)}
    changes |= {"MODEL.WEIGHTS": "", "MODEL.RESNETS.DEPTH": "7"}
    assert "MODEL.RESNETS.DEPTH 7" in refusal(changes, ("--dataset", dataset), {})


def test_ade20k_is_not_on_disk(refusal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refusal(argv=("--encoder", "darknet_tiny"))
    assert "DATASETS.TRAIN" in line
    assert "DETECTRON2_DATASETS" in line
    assert not (tmp_path / "out").exists()


def test_the_output_folder_is_a_file(refusal, tmp_path):
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below"):
        assert str(tmp_path / place) in refusal({"OUTPUT_DIR": str(tmp_path / place)})


@pytest.mark.parametrize("name", ["x.pkl", "empty.pkl", "x.pth", "list.pth", "number.pth"])
def test_weights_that_are_no_weights(refusal, tmp_path, name):
    path = tmp_path / name
    match name:
        case "empty.pkl":
            path.write_bytes(b"")
        case "list.pth":
            torch.save([1, 2], path)
        case "number.pth":
            torch.save({"model": {"a": 1}}, path)
        case _:
            path.write_bytes(pickle.dumps("x" * 99)[:50])
    assert str(path) in refusal({"MODEL.WEIGHTS": str(path)})


@pytest.mark.parametrize("text", [b"- 1\n", b"\xff\xfe\x00", b"SOLVER: [1, 2]\n", b"NOPE: 1\n"])
def test_a_configuration_file_that_is_none(refusal, dataset, tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    line = refusal(argv=("--dataset", dataset, "--config-file", str(path)), options={})
    assert str(path) in line
    assert len(line) < 600
    assert "utf-8." not in line


@pytest.mark.parametrize(
    "option",
    [("--num-machines", "0"), ("--machine-rank", "-1"), ("--machine-rank", "3"), ("--freeze", "[")],
)
def test_an_option_that_is_not_allowed(refusal, dataset, option):
    argv = ("--encoder", "darknet_tiny", "--dataset", dataset, *option)
    assert option[0] in refusal(argv=argv)


def test_a_batch_that_the_processes_do_not_divide(refusal, dataset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    argv = ("--encoder", "darknet_tiny", "--dataset", dataset, "--num-machines", "2")
    argv += ("--dist-url", "tcp://127.0.0.1:1")
    line = refusal({"SOLVER.IMS_PER_BATCH": "3"}, argv)
    assert "SOLVER.IMS_PER_BATCH is 3" in line


def test_the_traceback_of_a_library_is_kept_in_a_file(refusal, tmp_path):
    line = refusal({f"{HEAD}.NORM": "XX"})
    kept = tmp_path / "out" / "traceback.txt"
    assert f"The traceback is in {kept}." in line
    assert "Traceback (most recent call last)" in kept.read_text()


def test_a_defect_of_our_own_keeps_its_traceback(dataset, tmp_path, monkeypatch):
    """It is no fault of the configuration, and ends the command with code 1."""
    monkeypatch.setattr(
        "encoder_ablations.experiments.detectron2_loop.trainer.undecayed_names", None
    )
    words = [word for pair in QUICK.items() for word in pair]
    argv = ["--encoder", "darknet_tiny", "--dataset", dataset, "OUTPUT_DIR", str(tmp_path), *words]
    with pytest.raises(TypeError, match="not callable"):
        command(main, argv)
