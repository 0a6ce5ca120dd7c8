"""What holds for every segmenter, whatever its head."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.heads.eomt import EomtHead
from encoder_ablations.segmenters.heads.query_decoder import QueryDecoderHead
from encoder_ablations.segmenters.registry import head_entry, head_names
from encoder_ablations.segmenters.spec import DecoderSpec
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec

CLASSES = 4
TINY = {
    "queries": 5,
    "hidden": 32,
    "heads": 2,
    "encoder_layers": 1,
    "encoder_feedforward": 32,
    "decoder_layers": 3,
    "decoder_feedforward": 32,
    "points": 64,
    "widths": (16, 8, 8, 4, 4),
    "branch_hidden": 32,
}


def tiny(name, **settings):
    spec = head_entry(name).spec
    known = {key: value for key, value in TINY.items() if key in spec.model_fields}
    if name == "query_decoder" and settings.get("assignment") != "hungarian":
        known.pop("points")
    return spec(name=name, **known, **settings)


TRAINED = [name for name in head_names() if head_entry(name).spec is not ZeroShotSpec]
SPECS = {name: tiny(name) for name in TRAINED if head_entry(name).spec.task == "segmentation"}
SPECS["mask2former-negative"] = tiny("mask2former", ignored_pixels="negative")
SPECS["query_decoder-hungarian"] = tiny("query_decoder", assignment="hungarian")
SPECS["query_decoder-background"] = tiny("query_decoder", background=1, dice_weight=1.0)
DECODERS = [name for name in head_names() if issubclass(head_entry(name).spec, DecoderSpec)]
OFFICIAL = [
    pytest.mark.detectron2,
    pytest.mark.skipif(
        find_spec("detectron2") is None or find_spec("mask2former") is None,
        reason="Detectron2 is not installed, or the official Mask2Former is not on PYTHONPATH",
    ),
]
PARAMETERS = [
    pytest.param(name, marks=OFFICIAL if name == "mask2former_official" else []) for name in SPECS
]
SIZES = [(64, 64), (96, 80), (75, 101)]


@pytest.fixture(params=PARAMETERS)
def segmenter(request, make_fitting_encoder):
    spec = SPECS[request.param]
    return build_segmenter(spec, make_fitting_encoder(spec.name), CLASSES, seed=0)


def batch(size, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *size), generator=generator).to(dtype)
    masks = torch.randint(0, CLASSES, (2, *size), generator=generator)
    masks[:, :9, :20] = 255
    return images, masks


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_scores_have_the_input_size(segmenter, size, dtype):
    images, _ = batch(size, dtype)
    segmenter.eval()
    with torch.no_grad():
        scores = segmenter.scores(images)
        labels = segmenter.predict(images).labels(size)
    assert scores.shape == (2, CLASSES, *size)
    assert scores.isfinite().all()
    assert torch.equal(labels, scores.argmax(1))


def learning(segmenter):
    """Names and parameters that are trained: of a neck only what makes the levels that are read."""
    found = [item for item in segmenter.named_parameters() if item[1].requires_grad]
    frozen = len(list(segmenter.parameters())) - len(found)
    assert bool(frozen) == (segmenter.head.levels is not None)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_loss_reaches_every_parameter(segmenter, size):
    images, masks = batch(size)
    losses = segmenter.train().loss(images, masks)
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in learning(segmenter):
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_training_lowers_the_loss(segmenter):
    images, masks = batch((64, 64))
    masks[:] = (images[:, 0] > 127).long()
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=3e-3)
    values = []
    for _ in range(15):
        torch.manual_seed(0)
        loss = sum(segmenter.train().loss(images, masks).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


def test_what_every_query_says(segmenter):
    """Of heads with queries: probabilities whose sums over the queries are the scores."""
    if isinstance(segmenter.head, DenseHead):
        return
    images, _ = batch((75, 101))
    with torch.no_grad():
        predicted = segmenter.eval().predict(images)
        classes, masks = predicted.queries((75, 101))
    assert classes.shape == (2, TINY["queries"], CLASSES)
    assert masks.shape == (2, TINY["queries"], 75, 101)
    assert (classes.sum(-1) < 1).all()
    expected = torch.einsum("bqk,bqhw->bkhw", classes, masks)
    asked = [k for k in range(CLASSES) if k != predicted.background]
    torch.testing.assert_close(predicted.at((75, 101))[:, asked], expected[:, asked])


def test_uint8_and_float_images_are_the_same(segmenter):
    images, _ = batch((64, 64))
    segmenter.eval()
    with torch.no_grad():
        assert torch.equal(segmenter.scores(images), segmenter.scores(images.float()))


def test_evaluation_is_deterministic_and_leaves_no_trace(segmenter):
    images, masks = batch((96, 80))
    segmenter.eval()
    state = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    with torch.no_grad():
        first = segmenter.scores(images)
        segmenter.loss(images, masks)
        assert torch.equal(segmenter.scores(images), first)
    assert all(torch.equal(tensor, state[name]) for name, tensor in segmenter.state_dict().items())


def test_same_seed_same_loss(segmenter):
    images, masks = batch((64, 64))
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        with torch.no_grad():
            values.append(segmenter.eval().loss(images, masks))
    assert values[0] == values[1]


def test_nothing_labelled(segmenter):
    images, masks = batch((64, 64))
    masks[:] = 255
    losses = segmenter.train().loss(images, masks)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(parameter.grad.isfinite().all() for _, parameter in learning(segmenter))


def test_one_image_of_two_not_labelled(segmenter):
    images, masks = batch((64, 64))
    masks[1] = 255
    losses = segmenter.train().loss(images, masks)
    assert all(loss.isfinite() for loss in losses.values())


def test_totals_add_up_and_follow_from_the_masks(segmenter):
    _, masks = batch((75, 101))
    masks[1][masks[1] == 2] = 255
    whole, parts = segmenter.totals(masks), [segmenter.totals(mask[None]) for mask in masks]
    for name, value in whole.items():
        assert value.shape == ()
        torch.testing.assert_close(sum(part[name] for part in parts), value)


@pytest.mark.parametrize("name", DECODERS)
def test_micro_batches_of_one_image_give_the_gradient_of_the_batch(name, make_fitting_encoder):
    """With GroupNorm; a BatchNorm's statistics differ between micro-batches by nature."""
    segmenter = build_segmenter(tiny(name, norm="group"), make_fitting_encoder(name), CLASSES, 0)
    images, masks = batch((75, 101))
    masks[0, :50] = 255
    totals, gradients = segmenter.totals(masks), []
    for parts in ([slice(0, 2)], [slice(0, 1), slice(1, 2)]):
        segmenter.train().zero_grad()
        for part in parts:
            sum(segmenter.loss(images[part], masks[part], totals).values()).backward()
        gradients.append(torch.cat([value.grad.flatten() for _, value in learning(segmenter)]))
    whole, summed = gradients
    assert (whole - summed).abs().max() < 1e-5 * whole.abs().max()


def test_train_and_eval_reach_the_head(segmenter):
    assert all(module.training for module in segmenter.train().head.modules())
    assert not any(module.training for module in segmenter.eval().head.modules())


def test_weights_survive_saving(segmenter, make_encoder, tmp_path):
    images, _ = batch((64, 64))
    torch.save(segmenter.state_dict(), tmp_path / "weights.pt")
    expected = segmenter.eval().scores(images)
    for parameter in segmenter.parameters():
        nn.init.zeros_(parameter)
    segmenter.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(segmenter.scores(images), expected)


def test_what_computed_deformable_attention_is_asked_of_the_head(segmenter, make_encoder):
    """Not of the process, in which other models may have computed."""
    images, _ = batch((64, 64))
    fresh = copy.deepcopy(segmenter)
    segmenter.eval().scores(images)
    without = DenseHead | EomtHead | QueryDecoderHead
    expected = set() if isinstance(segmenter.head, without) else {"numba"}
    assert segmenter.head.attention_paths() == expected
    assert fresh.head.attention_paths() == set()
    fresh.eval().scores(images)
    assert fresh.head.attention_paths() == expected
