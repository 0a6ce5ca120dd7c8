"""Encoders that a user's own function makes: built, checked in one line each, recorded."""

import sys
from pathlib import Path

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder, normalization_of
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

MODELS = """
import torch
from torch import nn


class Stages(nn.Module):
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, widths, reductions):
        super().__init__()
        self.widths, self.reductions = widths, reductions
        self.stages = nn.ModuleList(
            nn.Conv2d(3, width, 3, padding=1) for width in widths
        )
        self.never_used = nn.Linear(2, 2)

    def forward(self, images):
        sizes = [[-(-side // step) for side in images.shape[-2:]] for step in self.reductions]
        maps = zip(self.stages, sizes)
        return [nn.functional.adaptive_avg_pool2d(stage(images), size) for stage, size in maps]


class Blocks(Stages):
    max_depth = 5

    def depth_of(self, name):
        part, _, rest = name.partition(".")
        return int(rest[0]) + 1 if part == "stages" else 5


def pyramid(width=8, pretrained=False):
    made = Stages((width,) * 4, (4, 8, 16, 32))
    if pretrained:
        nn.init.constant_(made.stages[0].weight, 0.5)
    return made


def plain(width=8, count=4):
    return Stages((width,) * count, (16,) * count)


def uneven():
    return Stages((4, 8), (3, 7))


def blocks():
    return Blocks((8,) * 4, (4, 8, 16, 32))


def with_change(**changes):
    made = plain()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def without_mean():
    made = nn.Conv2d(3, 3, 3)
    made.widths, made.reductions = (3,), (1,)
    return made


class Answers(Stages):
    answer = None

    def forward(self, images):
        return {"dict": {}, "none": [None] * 4, "half": [m.half() for m in super().forward(images)],
                "few": super().forward(images)[:2],
                "nan": [m * float("nan") for m in super().forward(images)]}[self.answer]


def answering(answer):
    made = Answers((8,) * 4, (16,) * 4)
    made.answer = answer
    return made


class Fixed(Stages):
    def forward(self, images):
        return super().forward(images + torch.zeros(1, 3, 64, 96))


def fixed():
    return Fixed((8,) * 4, (16,) * 4)


def fails():
    return 1 / 0


def returns_text():
    return "a model"


not_a_function = 3
"""


@pytest.fixture
def models(tmp_path, monkeypatch, request):
    """The name of a module of a user's own in the current folder, which is not on the path."""
    name = f"own_models_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def made(models, function, **more):
    weights = {"weights": "random"}
    return build_encoder(load_encoder({"name": f"{models}:{function}"} | weights | more))


@pytest.mark.parametrize(
    ("function", "neck", "more"),
    [
        ("pyramid", "AdditiveFPN", {}),
        ("pyramid", "ConcatFPN", {"neck": "fpn_concat"}),
        ("pyramid", "BareTaps", {"neck": "none"}),
        ("plain", "TapPyramid", {}),
        ("plain", "SimpleFeaturePyramid", {"neck": "simple_feature_pyramid"}),
        ("plain", "SimpleFeaturePyramid", {"settings": {"count": 2}}),
        ("uneven", "BareTaps", {}),
    ],
)
def test_the_maps_decide_which_necks_fit(models, function, neck, more):
    before = list(sys.path)
    encoder = made(models, function, **more)
    assert sys.path == before
    assert type(encoder.neck).__name__ == neck
    assert encoder.normalization.mean == (0.5, 0.5, 0.5)
    pyramid = encoder(torch.zeros(1, 3, 96, 64))
    for level in encoder.levels:
        if neck != "BareTaps":
            assert pyramid[level.name].shape == (1, 256, 96 // level.stride, 64 // level.stride)
    assert all(map(encoder.training.__eq__, [module.training for module in encoder.modules()]))


def test_settings_are_keyword_arguments_and_part_of_the_specification(models):
    encoder = made(models, "pyramid", settings={"width": 16})
    assert encoder.body.widths == (16,) * 4
    spec = load_encoder({"name": f"{models}:pyramid", "settings": {"width": 16}})
    assert spec.model_dump(mode="json")["settings"] == {"width": 16}
    assert build(type(spec), spec.model_dump(mode="json"), "again") == spec


def test_pretrained_is_told_to_the_function_and_recorded(models):
    random, pretrained = (
        made(models, "pyramid", weights=weights).body for weights in ("random", "pretrained")
    )
    assert (pretrained.model.stages[0].weight == 0.5).all()
    assert not (random.model.stages[0].weight == 0.5).all()
    assert random.facts()["weights_sha256"] != pretrained.facts()["weights_sha256"]
    assert (
        random.facts()["weights_sha256"] == made(models, "pyramid").body.facts()["weights_sha256"]
    )


def test_the_weights_come_from_the_stream_of_the_body(models):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = made(models, "pyramid")
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    second = made(models, "pyramid")
    other = build_encoder(load_encoder({"name": f"{models}:pyramid", "weights": "random"}), seed=1)
    digests = [encoder.body.facts()["weights_sha256"] for encoder in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_local_file_is_loaded_whole(models, tmp_path):
    state = made(models, "pyramid").body.model.state_dict()
    torch.save({name: value * 0 + 0.25 for name, value in state.items()}, "all.pth")
    loaded = made(models, "pyramid", weights="all.pth").body
    assert all((value == 0.25).all() for value in loaded.model.state_dict().values())
    torch.save({name: value for name, value in list(state.items())[1:]}, "some.pth")
    with pytest.raises(InputError, match=r"it lacks stages\.0\.weight"):
        made(models, "pyramid", weights="some.pth")


def test_what_no_map_depends_on_does_not_learn(models):
    encoder = made(models, "pyramid")
    still = {name for name, value in encoder.body.named_parameters() if not value.requires_grad}
    assert still == {"model.never_used.weight", "model.never_used.bias"}


def test_freezing_by_blocks_needs_to_know_them(models):
    frozen = made(models, "blocks", freeze=2).body
    learning = [name for name, value in frozen.named_parameters() if value.requires_grad]
    assert {name.split(".")[2] for name in learning} == {"2", "3"}
    with pytest.raises(InputError, match=r"does not say which parameters.*all_but_norms"):
        made(models, "pyramid", freeze=1)
    assert made(models, "pyramid", freeze="body").body_is_frozen


@pytest.mark.parametrize(
    ("function", "more", "words"),
    [
        ("pyramind", {}, "has no 'pyramind'. Did you mean 'pyramid'"),
        ("not_a_function", {}, "is int; it must be a function"),
        ("a b", {}, r"written package\.module:name"),
        ("fails", {}, r"failed at .*\.py:\d+: ZeroDivisionError"),
        ("returns_text", {}, "returned str; it must return a torch.nn.Module"),
        ("without_mean", {}, "without 'mean'"),
        ("pyramid", {"settings": {"widht": 3}}, "Did you mean 'width'"),
        ("answering", {}, "missing a required argument: 'answer'"),
        ("pyramid", {"settings": {"pretrained": True}}, "which the encoder's key weights decides"),
        ("plain", {"weights": "pretrained"}, "has no parameter 'pretrained'.*weights: random"),
        ("pyramid", {"neck": "tap_pyramid"}, "Allowed: fpn_additive, fpn_concat, none"),
        ("uneven", {"neck": "fpn_additive"}, "Allowed: none"),
        ("pyramid", {"taps": [1.0], "neck": "none"}, "taps applies to timm's"),
        ("with_change", {"settings": {"widths": [8, 8]}}, "must be equally many"),
        ("with_change", {"settings": {"widths": [8, 8, 8, 9]}}, "map 3 is 2×8×4×6.*say 2×9×4×6"),
        ("with_change", {"settings": {"widths": [8.0] * 4}}, "must be whole numbers"),
        ("with_change", {"settings": {"reductions": [16, 16, 16, 8]}}, "must be finest first"),
        ("with_change", {"settings": {"reductions": 16}}, "'reductions' must be a list"),
        ("with_change", {"settings": {"mean": [0.5]}}, "'mean' must be three numbers"),
        ("with_change", {"settings": {"std": [58, 57, 57]}}, "numbers of 0..255 by 255"),
        ("answering", {"settings": {"answer": "dict"}}, "it gave dict; forward must return a list"),
        ("answering", {"settings": {"answer": "few"}}, "it gave 2 maps.*are of 4"),
        ("answering", {"settings": {"answer": "none"}}, "map 0 is NoneType, not a tensor"),
        ("answering", {"settings": {"answer": "half"}}, "map 0 is torch.float16"),
        ("answering", {"settings": {"answer": "nan"}}, "map 0 holds infinite or undefined values"),
        ("fixed", {}, r"a forward pass failed at .*\.py:\d+: RuntimeError"),
    ],
)
def test_bad_input_is_one_line(models, function, more, words):
    with pytest.raises(InputError, match=words) as raised:
        made(models, function, **more)
    assert "\n" not in str(raised.value)
    assert function in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("import nowhere_at_all", r"failed at .*own\.py:1: ModuleNotFoundError"),
        ("\n\nraise RuntimeError('two\\nlines')", r"own\.py:3: RuntimeError: two lines"),
        ("def make(:", r"own\.py:1: SyntaxError"),
        ("import sys\nsys.exit(3)", r"own\.py:2: SystemExit: 3"),
    ],
)
def test_an_import_that_fails_names_the_line(content, words, tmp_path, monkeypatch):
    folder = tmp_path / f"broken_{abs(hash(content))}"
    folder.mkdir()
    (folder / "own.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        build_encoder(load_encoder({"name": f"{folder.name}.own:make", "weights": "random"}))


@pytest.mark.parametrize("name", ["nowhere_at_all:make", "json.nowhere:make", "os.path.x:make"])
def test_a_missing_module_says_where_it_was_looked_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"there is no module '.*PYTHONPATH") as raised:
        build_encoder(load_encoder(name))
    assert str(Path.cwd()) in str(raised.value)


def test_detectron2s_configuration_cannot_name_one():
    with pytest.raises(InputError, match=r"'a\.b:c' is code of your own"):
        normalization_of(find_row("a.b:c"))


def test_settings_belong_to_encoders_of_ones_own():
    spec = load_encoder({"name": "darknet_tiny", "weights": "random", "settings": {"width": 3}})
    with pytest.raises(InputError, match="settings are those of an encoder of your own"):
        build_encoder(spec)
