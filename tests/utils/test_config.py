import pytest
from pydantic import ValidationError

from encoder_ablations.data.datasets.class_map import ClassMap
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import (
    EarlyStoppingSpec,
    EmaSpec,
    OptimizerSpec,
    ScheduleSpec,
    SwaSpec,
)
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.studies.grid import RunFilter
from encoder_ablations.experiments.studies.pseudo_labels import PseudoLabelChoice
from encoder_ablations.experiments.studies.published import PublishedScore
from encoder_ablations.experiments.studies.study import StudySpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from encoder_ablations.utils.config import build, merge, parse_overrides, read_yaml
from encoder_ablations.utils.errors import InputError


def test_layers_win_from_the_right():
    content = merge(
        {"steps": 5, "optimizer": {"lr": 1.0, "weight_decay": 0.1}},
        parse_overrides(["optimizer.lr=0.5"]),
    )
    recipe = build(Recipe, content, "here")
    assert (recipe.steps, recipe.optimizer.lr, recipe.optimizer.weight_decay) == (5, 0.5, 0.1)
    assert recipe.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"stepz": 5},
            r"file\.yaml: unknown key 'stepz'\. Did you mean 'steps'\? Allowed: accumulation, ",
        ),
        (
            {"optimizer": {"learning": 1}},
            r"unknown key 'optimizer\.learning'.*Allowed: betas, clip_norm, encoder_lr_mult",
        ),
        ({"steps": 0}, r"'steps': input should be greater than or equal to 1 \(given: 0\)"),
        (
            {"precision": "fp8"},
            r"'precision': input should be 'fp32', 'tf32', 'bf16' or 'fp16' \(given: 'fp8'\)",
        ),
        ({"batch_size": 3, "accumulation": 2}, "batch_size 3 is not a multiple of accumulation 2"),
        ({"schedule": {"warmup_steps": 10}, "steps": 10}, "must be less than steps 10"),
        ({"augmentation": {"scale": [2, 1]}}, r"scale is a range"),
    ],
)
def test_errors_teach(content, message):
    with pytest.raises(InputError, match=message):
        build(Recipe, content, "file.yaml")


@pytest.mark.parametrize(
    ("model", "content", "told"),
    [
        (
            PseudoLabelChoice,
            {"run": "r", "threshold": "vall"},
            r"'threshold': write a probability from 0 to 1, or val \(given: 'vall'\)\.",
        ),
        (PseudoLabelChoice, {"run": "r", "threshold": 1.5}, r"'threshold': write a probability"),
        (
            EncoderSpec,
            {"name": "clip_b16", "freeze": "boddy"},
            r"'freeze': input should be 'none', 'body' or 'all_but_norms' or a valid integer \(",
        ),
        (TextSpec, {"templates": 3}, r"'templates': input should be a valid string"),
        (ZeroShotSpec, {"name": "zero_shot", "vocabulary": 3}, r"'vocabulary': "),
        (FederationSpec, {"clients": 2, "partition": "idd"}, r"'partition': "),
    ],
)
def test_kinds_of_pydantic_are_not_named(model, content, told):
    with pytest.raises(InputError, match=f"^here: {told}"):
        build(model, content, "here")


def test_settings_that_do_not_go_together_name_what_changed_them():
    content = {"name": "zero_shot", "window": 16}
    told = r"^--set window=16: stride 112 is more than window 16.* Give stride=16 or less, too\.$"
    with pytest.raises(InputError, match=told):
        build(ZeroShotSpec, content, "zero_shot.yaml", {"window": 16}, "--set window=16")
    with pytest.raises(InputError, match=r"^zero_shot\.yaml: stride 112"):
        build(ZeroShotSpec, content, "zero_shot.yaml")


def test_yaml_files(tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(InputError, match=r"cannot read .*x\.yaml: No such file"):
        read_yaml(path)
    path.write_text("a: [")
    with pytest.raises(InputError, match="not valid YAML"):
        read_yaml(path)
    path.write_text("- a")
    with pytest.raises(InputError, match="expected 'key: value' lines, found list"):
        read_yaml(path)
    path.write_text("")
    assert read_yaml(path) == {}


def test_overrides():
    assert parse_overrides(["a.b=1", "a.c=[1, 2]", "d=x"]) == {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    with pytest.raises(InputError, match=r"key\.sub=value"):
        parse_overrides(["steps"])


NUMBERS = {
    OptimizerSpec: (
        "lr",
        "encoder_lr_multiplier",
        "layer_decay",
        "weight_decay",
        "clip_norm",
        "momentum",
    ),
    ScheduleSpec: ("power", "min_factor", "factor", "rise", "start_factor"),
    EmaSpec: ("decay",),
    SwaSpec: ("start",),
    EarlyStoppingSpec: ("min_delta",),
    AugmentationSpec: ("flip", "rotate", "vertical_flip", "quarter_turns"),
    Recipe: ("pos_ratio",),
    Mask2FormerSpec: ("oversample_ratio", "class_weight", "mask_weight", "dice_weight"),
    RunFilter: ("fraction",),
    PublishedScore: ("fraction", "miou"),
}
LISTS_OF_NUMBERS = {
    OptimizerSpec: {"betas": 2},
    ScheduleSpec: {"milestones": 1},
    AugmentationSpec: {"scale": 2, "elastic": 2},
    StudySpec: {"fractions": 1},
    EncoderSpec: {"mean": 3, "std": 3, "taps": 4},
}


def test_what_stands_in_place_of_a_missing_key_is_named():
    with pytest.raises(InputError, match="'name' is missing; given: label"):
        build(EncoderSpec, {"label": "dinov2_b14"}, "study.yaml")


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_every_number_is_finite(number):
    contents = [(spec, {key: number}) for spec, keys in NUMBERS.items() for key in keys]
    for spec, lengths in LISTS_OF_NUMBERS.items():
        contents += [(spec, {key: [number] * length}) for key, length in lengths.items()]
    for spec, content in contents:
        with pytest.raises(ValidationError) as caught:
            spec.model_validate(content)
        kinds = {problem["type"] for problem in caught.value.errors()}
        assert "finite_number" in kinds, (spec, content)


@pytest.mark.parametrize(
    ("spec", "content"),
    [
        (OptimizerSpec, {"betas": [0.9, 1.0]}),
        (OptimizerSpec, {"betas": [-0.1, 0.9]}),
        (EncoderSpec, {"name": "mae_b16", "std": [1, 0, 1]}),
    ],
)
def test_numbers_lie_in_their_ranges(spec, content):
    with pytest.raises(InputError, match="than"):
        build(spec, content, "file.yaml")


@pytest.mark.parametrize(
    ("spec", "content"),
    [
        (Recipe, {"batch_size": 10**7}),
        (Recipe, {"steps": 10**12}),
        (AugmentationSpec, {"crop": [512, 10**5]}),
        (AugmentationSpec, {"short_side": 10**6}),
        (AugmentationSpec, {"scale": [0.5, 1e6]}),
        (AugmentationSpec, {"elastic": [1e9, 4]}),
        (EncoderSpec, {"name": "mae_b16", "channels": 32 * 10**6}),
        (Mask2FormerSpec, {"name": "mask2former", "queries": 10**7}),
        (Mask2FormerSpec, {"name": "mask2former", "hidden": 32 * 10**6}),
        (Mask2FormerSpec, {"name": "mask2former", "heads": 10**7}),
        (Mask2FormerSpec, {"name": "mask2former", "points": 10**10}),
        (Mask2FormerSpec, {"name": "mask2former", "oversample_ratio": 1e9}),
        (Mask2FormerSpec, {"name": "mask2former", "encoder_layers": 10**6}),
        (Mask2FormerSpec, {"name": "mask2former", "decoder_layers": 10**6}),
        (Mask2FormerSpec, {"name": "mask2former", "encoder_feedforward": 10**9}),
        (Mask2FormerSpec, {"name": "mask2former", "decoder_feedforward": 10**9}),
    ],
)
def test_sizes_that_no_machine_holds_are_refused_with_the_reason(spec, content):
    key = list(content)[-1]
    with pytest.raises(InputError, match=f"'{key}.*at most .*because") as caught:
        build(spec, content, "file.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x85", "\u200f", "\u202e", "\u2066"])
def test_names_that_a_table_cannot_show_are_refused(character):
    name = f"a{character}b"
    dataset = {"name": "x", "root": "x", "splits": {"train": "train", "val": "val"}}
    score = {"encoder": "a", "segmenter": "b", "dataset": "c", "miou": 50, "source": name}
    for spec, content in (
        (EncoderSpec, {"name": "mae_b16", "label": name}),
        (DatasetSpec, {**dataset, "classes": ["ground", name]}),
        (ClassMap, {"shared": {name: {}}}),
        (PublishedScore, score),
    ):
        with pytest.raises(InputError, match=rf"U\+{ord(character):04X}") as caught:
            build(spec, content, "file.yaml")
        assert character not in str(caught.value)
