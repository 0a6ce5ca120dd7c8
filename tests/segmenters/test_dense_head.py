"""Losses as a setting of dense heads: how they are read, weighed and refused."""

import sys

import pytest
import torch

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters import loss_registry
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.heads.linear import LinearHead
from encoder_ablations.segmenters.loss_registry import loss_entry, loss_names, register_loss
from encoder_ablations.segmenters.loss_spec import LossSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import LinearSpec
from encoder_ablations.utils.errors import InputError

OWN_LOSS = """
import torch

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import LossSpec


class Spec(LossSpec):
    power: float = 2.0
    fault: str = ""


@register_loss("own", Spec)
class Own(DenseLoss):
    def __init__(self, spec, num_classes):
        super().__init__(spec, num_classes)
        self.power, self.fault = spec.power, spec.fault
        self.register_buffer("ones", torch.ones(num_classes), persistent=False)
        torch.rand(3)
        if spec.fault == "building":
            raise KeyError("key")

    def total(self, masks):
        labelled = super().total(masks)
        if self.fault == "total":
            return masks != self.ignore
        return labelled.clamp(min=1) if self.fault == "clamped" else labelled

    def forward(self, logits, masks):
        labelled = masks != self.ignore
        cost = 1 - logits.softmax(1).gather(1, (masks * labelled)[:, None])[:, 0]
        kept = (cost**self.power) * labelled * self.ones[0]
        faults = {
            "ignore": lambda: (cost**self.power).sum(),
            "value": lambda: (logits * (masks == self.ignore)[:, None]).detach().sum() + kept.sum(),
            "map": lambda: kept,
            "nan": lambda: (kept / labelled).sum(),
            "mean": lambda: kept.sum() / labelled.sum().clamp(min=1),
            "bare mean": lambda: kept.sum() / labelled.sum(),
            "empty": lambda: kept.sum() / labelled.any(),
            "number": lambda: 3.0,
            "constant": lambda: kept.sum().detach(),
            "error": lambda: [][3],
        }
        return faults.get(self.fault, kept.sum)()


not_a_loss = 3
"""
LEVELS = [Level("p2", 6, 4)]


@pytest.fixture(autouse=True)
def own_registry():
    """What a test registers is forgotten after it; the losses of the package stay."""
    for name in loss_names():
        loss_entry(name)
    built_in = set(loss_names())
    yield
    for name in loss_registry.LOSSES.entries.keys() - built_in:
        del loss_registry.LOSSES.entries[name]


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """The name of a module of a user's own with a loss, on the path."""
    name = f"own_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(OWN_LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def head(loss, classes=3):
    torch.manual_seed(0)
    return LinearHead(LinearSpec(name="linear", loss=loss), classes, LEVELS)


def inputs(classes=3, ignore=255):
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, classes, (3, 20, 24), generator=generator)
    masks[1, 5:], masks[2] = ignore, ignore
    return {"p2": torch.randn(3, 6, 5, 6, generator=generator)}, masks


def test_every_file_of_the_folder_is_found_by_its_name():
    # another module of tests may have registered a loss of its own
    built_in = [name for name in loss_names() if loss_entry(name).reference == name]
    assert len(built_in) == 8
    for name in built_in:
        entry = loss_entry(name)
        assert (entry.name, entry.reference) == (name, name)
        assert entry.loss(entry.spec(), 3)


def test_losses_are_weighed_and_named():
    model = head({"cross_entropy": 2, "dice": {"weight": 0.5, "smooth": 3.0}, "focal": 0}).eval()
    levels, masks = inputs()
    found = model.loss(levels, masks, model.totals(masks))
    assert list(found) == ["cross_entropy", "dice"]
    for name, weight, content in (("cross_entropy", 2, 1), ("dice", 0.5, {"smooth": 3.0})):
        alone = head({name: content}).eval()
        expected = weight * alone.loss(levels, masks, alone.totals(masks))[name]
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("name", loss_names())
def test_many_classes_one_image_at_a_time(name):
    """The loss of 300 classes is that of the images' own losses, and 255 is a class."""
    levels, masks = inputs(300, 65535)
    masks[0, :10] = 255
    model = head({name: 1}, 300).eval()
    (found,) = model.loss(levels, masks, model.totals(masks)).values()
    assert found > 0
    found.backward()
    assert model.classifier.bias.grad[255] != 0
    logits = torch.nn.functional.interpolate(model(levels), size=(20, 24), mode="bilinear")
    loss = model.losses[0]
    torch.testing.assert_close(found, loss(logits, masks) / loss.total(masks))


@pytest.mark.parametrize("name", loss_names())
def test_losses_are_float32_within_autocast(name):
    levels, masks = inputs()
    model = head({name: 1}).eval()
    logits = model(levels)
    # the same logits, so that only the loss can differ
    model.forward = lambda pyramid: logits
    totals = model.totals(masks)
    (plain,) = model.loss(levels, masks, totals).values()
    with torch.autocast("cpu", torch.bfloat16):
        (mixed,) = model.loss(levels, masks, totals).values()
    assert torch.equal(plain, mixed)


def test_settings_are_resolved_to_the_same_run():
    written = [1, 1.0, {}, {"weight": 1}, {"label_smoothing": 0.0}]
    found = [load_segmenter({"name": "linear", "loss": {"cross_entropy": e}}) for e in written]
    found.append(load_segmenter("linear"))
    found.append(load_segmenter({"name": "linear", "loss": {"cross_entropy": 1, "dice": 0}}))
    assert all(spec == found[0] for spec in found)
    assert load_segmenter(found[0].model_dump()) == found[0]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"cross_entropi": 1}, r"unknown loss 'cross_entropi'\. Did you mean 'cross_entropy'\?"),
        ({"dice": {"smoth": 1}}, r"loss dice: unknown key 'smoth'\. Did you mean 'smooth'\?"),
        ({"dice": -1}, "loss dice: 'weight'.*greater than or equal to 0"),
        ({"dice": float("nan")}, "loss dice: 'weight'.*finite"),
        ({"dice": "much"}, "loss dice: 'weight'.*number"),
        ({"dice": 0, "iou": 0}, "no loss has a weight above 0"),
        ({}, "no loss has a weight above 0"),
        ("dice", r"'loss'.*\{dice: 1\}"),
        (["dice"], "'loss'.*dictionary"),
        ({"cross_entropy": {"class_weights": [1, -1, 1]}}, "class_weights.*weight is -1"),
        ({"cross_entropy": {"class_weights": "balance"}}, 'class_weights.*write "balanced"'),
        ({"cross_entropy": {"class_weights": [1, float("nan")]}}, "a weight is nan"),
        ({"cross_entropy": {"class_weights": {"sky": "high"}}}, "a weight is 'high'"),
        ({"cross_entropy": {"label_smoothing": 1}}, "less than 1"),
        ({"absent_module:Loss": 1}, "no module 'absent_module'"),
    ],
)
def test_bad_settings_are_one_line(loss, words):
    with pytest.raises(InputError, match=words) as raised:
        load_segmenter({"name": "linear", "loss": loss})
    assert "\n" not in str(raised.value)


def test_the_same_loss_twice(module):
    load_segmenter({"name": "linear", "loss": {f"{module}:Own": 1}})
    with pytest.raises(InputError, match="there twice"):
        load_segmenter({"name": "linear", "loss": {"own": 1, f"{module}:Own": 1}})


def test_a_head_with_a_loss_of_its_own_takes_no_other():
    with pytest.raises(InputError, match=r"unknown key 'loss'\..*Allowed: class_weight, "):
        load_segmenter({"name": "mask2former", "loss": {"dice": 1}})


def test_a_loss_of_ones_own(module, make_encoder):
    loss = {f"{module}:Own": {"weight": 2, "power": 1.0}, "dice": 1}
    spec = load_segmenter({"name": "linear", "loss": loss})
    assert spec.loss[f"{module}:Own"] == {"weight": 2.0, "power": 1.0, "fault": ""}
    own, usual = (
        build_segmenter(each, make_encoder(), 3, seed=0)
        for each in (spec, LinearSpec(name="linear"))
    )
    # what the trial draws does not change the head's first weights
    assert torch.equal(own.head.classifier.weight, usual.head.classifier.weight)
    images, (_, masks) = torch.rand(3, 3, 20, 24) * 255, inputs()
    found = own.loss(images, masks)
    labelled = masks != 255
    shares = own.scores(images).softmax(1)
    found.popitem()
    assert list(found) == [f"{module}:Own"]
    assert 0 < found[f"{module}:Own"] < 2
    assert shares.shape[1] == 3
    assert labelled.any()


def test_a_loss_of_ones_own_is_tried_out_where_models_have_no_memory(module, make_encoder):
    """As the plan of a study builds them."""
    spec = load_segmenter({"name": "linear", "loss": {f"{module}:Own": 1}})
    with torch.device("meta"):
        segmenter = build_segmenter(spec, make_encoder(), 3, seed=0)
    assert segmenter.head.classifier.weight.is_meta


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("building", r"building it failed at .*\.py:\d+: KeyError"),
        ("error", r"a trial failed at .*\.py:\d+: IndexError"),
        ("ignore", "gradient at ignored pixels|of ignored pixels alone"),
        ("value", "depends on logits at ignored pixels|of ignored pixels alone"),
        ("map", "the loss must return a scalar"),
        ("number", "the loss must return a scalar"),
        ("nan", "the loss is nan"),
        ("mean", "add up to"),
        ("bare mean", "add up to.*micro-batches"),
        ("empty", "of ignored pixels alone: the loss is nan"),
        ("constant", "does not depend on the logits"),
        ("total", "total must return a scalar"),
        ("clamped", "totals of single images add up to|total 1"),
    ],
)
def test_a_loss_that_does_not_work_is_found_out_before_training(module, make_encoder, fault, words):
    spec = load_segmenter({"name": "linear", "loss": {f"{module}:Own": {"fault": fault}}})
    with pytest.raises(InputError, match=words) as raised:
        build_segmenter(spec, make_encoder(), 3, seed=0)
    assert "\n" not in str(raised.value)
    assert f"loss '{module}:Own'" in str(raised.value)


class Complete(DenseLoss):
    """As much of a loss as is looked at when it is registered."""


@pytest.mark.parametrize(
    ("name", "loss", "spec", "words"),
    [
        ("dice", Complete, LossSpec, "two losses are called 'dice'"),
        ("other", type("Other", (), {}), LossSpec, "derived from segmenters.dense_loss.DenseLoss"),
        ("other", Complete, dict, "derived from segmenters.loss_spec.LossSpec"),
    ],
)
def test_what_cannot_be_registered(name, loss, spec, words):
    with pytest.raises(InputError, match=words):
        register_loss(name, spec)(loss)
    assert "other" not in loss_names()


def test_a_loss_within_a_function_is_found_by_no_other_process():
    class Local(Complete):
        pass

    with pytest.raises(InputError, match="within a function"):
        register_loss("local", LossSpec)(Local)


def test_what_is_no_registered_loss(module):
    with pytest.raises(InputError, match="'not_a_loss' is no registered loss"):
        load_segmenter({"name": "linear", "loss": {f"{module}:not_a_loss": 1}})


class Product(DenseLoss):
    """A matrix product, which autocast would compute in bfloat16."""

    def forward(self, logits, masks):
        flat = logits.flatten(2)
        return (flat @ flat.transpose(1, 2)).sum()


def test_products_in_a_loss_are_float32_within_autocast():
    levels, masks = inputs()
    model = head({"bce": 1}).eval()
    model.losses[0] = Product(LossSpec(), 3)
    logits = model(levels)
    model.forward = lambda pyramid: logits
    plain = model.loss(levels, masks, model.totals(masks))
    with torch.autocast("cpu", torch.bfloat16):
        assert model.loss(levels, masks, model.totals(masks)) == plain
