"""The query decoder and its loss, written again from their description."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Level
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost.flops import count_flops
from encoder_ablations.engine.training.optimizer import undecayed_names
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.built_in import QueryDecoderSpec
from encoder_ablations.segmenters.heads.query_decoder import QueryDecoderHead
from encoder_ablations.segmenters.losses.point_sampling import Points
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError

HIDDEN, HEADS, QUERIES, GRID = 24, 6, 7, 5
LEVEL = Level("p3", 16, 8)
DARKNET = EncoderSpec(name="darknet_tiny", weights="random", neck="fpn_concat", channels=32)


def make_spec(**settings):
    sizes = {
        "queries": QUERIES,
        "hidden": HIDDEN,
        "heads": HEADS,
        "decoder_layers": 3,
        "decoder_feedforward": 40,
        "position_grid": GRID,
    }
    return QueryDecoderSpec(name="query_decoder", **sizes | settings)


def make_head(classes=2, **settings):
    torch.manual_seed(0)
    head = QueryDecoderHead(make_spec(**settings), classes, LEVEL)
    for name, value in head.named_parameters():
        if "norm" in name or "positions" in name or value.ndim == 1:
            nn.init.normal_(value, std=0.3)
    return head


def pyramid(images=2, side=2 * GRID, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"p3": torch.randn(images, 16, side, side, generator=generator).requires_grad_()}


def blocks(images=2, classes=2, side=80, seed=0):
    """Masks of 16×16 blocks."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, classes, (images, side // 16, side // 16), generator=generator)
    return low.repeat_interleave(16, 1).repeat_interleave(16, 2)


class Reference:
    """The network in evaluation mode, from the weights alone: every product written out."""

    def __init__(self, head):
        self.weights = head.state_dict()

    def linear(self, name, values):
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, values):
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, name, queries, memory):
        weights = self.weights[f"{name}.in_proj_weight"].chunk(3)
        biases = self.weights[f"{name}.in_proj_bias"].chunk(3)
        inputs = (queries, memory, memory)
        q, k, v = (
            (each @ weight.T + bias).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        shares = (q @ k.transpose(-1, -2) / math.sqrt(HIDDEN // HEADS)).softmax(-1)
        joined = (shares @ v).transpose(1, 2).flatten(2)
        return self.linear(f"{name}.out_proj", joined)

    def layer(self, name, queries, memory):
        # post-norm: the sum is normed
        found = self.attention(f"{name}.self_attn", queries, queries)
        queries = self.norm(f"{name}.norm1", queries + found)
        found = self.attention(f"{name}.multihead_attn", queries, memory)
        queries = self.norm(f"{name}.norm2", queries + found)
        inner = self.linear(f"{name}.linear1", queries).relu()
        return self.norm(f"{name}.norm3", queries + self.linear(f"{name}.linear2", inner))

    def __call__(self, p3):
        weights = self.weights
        batch, channels, height, width = p3.shape
        # patches of 2×2 places, each a vector
        cut = p3.reshape(batch, channels, height // 2, 2, width // 2, 2)
        flat = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)
        patches = flat @ weights["patchify.0.weight"].flatten(1).T
        mean, variance = (weights[f"patchify.1.running_{each}"] for each in ("mean", "var"))
        patches = (patches - mean) / (variance + 1e-5).sqrt()
        patches = patches * weights["patchify.1.weight"] + weights["patchify.1.bias"]
        patches = torch.where(patches > 0, patches, 0.1 * patches)
        # one table of positions, row after row
        tokens = patches.flatten(1, 2)
        memory = tokens + weights["positions.weight"]
        queries = weights["queries.weight"].expand(batch, -1, -1)
        for number in range(3):
            queries = self.layer(f"decoder.layers.{number}", queries, memory)
        pixels = tokens @ weights["pixels.weight"].flatten(1).T + weights["pixels.bias"]
        masks = self.linear("mask", queries) @ pixels.transpose(1, 2)
        return self.linear("classes", queries), masks.unflatten(2, (height // 2, width // 2))


@pytest.fixture
def head():
    return make_head(background=0)


def test_forward_equals_the_reference(head):
    with torch.no_grad():
        head.train()(pyramid(seed=1))  # the statistics of BatchNorm
        levels = pyramid()
        found, expected = head.eval()(levels), Reference(head)(levels["p3"])
    assert found.pred_logits.shape == (2, QUERIES, 2)
    assert found.pred_masks.shape == (2, QUERIES, GRID, GRID)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 1e-5


def seeds_loss(logits, masks, objects, dice):
    """Query 0 is the object and class 0; all others are "no object" with empty masks."""
    labels = torch.ones(logits.shape[:2], dtype=torch.int64)
    labels[:, 0] = 0
    wanted = torch.zeros(*logits.shape[:2], 80, 80)
    wanted[:, 0] = objects
    large = F.interpolate(masks, size=(80, 80), mode="bilinear")
    shares = large[:, 0].sigmoid()
    overlap = 2 * (shares * objects).sum((1, 2)) + 1
    each = 1 - overlap / (shares.sum((1, 2)) + objects.sum((1, 2)) + 1)
    return {
        "class": nn.CrossEntropyLoss()(logits.flatten(0, 1), labels.flatten()),
        "mask": nn.BCEWithLogitsLoss()(large, wanted),
    } | ({"dice": each.mean()} if dice else {})


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_loss_of_one_object_equals_the_reference(dice):
    head = make_head(background=0, dice_weight=dice).eval()
    levels, masks = pyramid(), blocks()
    found = head.loss(levels, masks, head.totals(masks))
    expected = seeds_loss(*head(levels), (masks == 1).float(), dice)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)
    gradients = [
        torch.autograd.grad(sum(each.values()), levels["p3"])[0] for each in (found, expected)
    ]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def restated(logits, masks, targets, classes, no_object):
    """The loss of K classes, pixel by pixel and query by query, in float64."""
    large = F.interpolate(masks, size=targets.shape[-2:], mode="bilinear").double()
    weight = torch.ones(classes + 1).double()
    weight[-1] = no_object
    entropies, terms, weights = [], [], []
    for image, target in enumerate(targets):
        labelled = target != 255
        if not labelled.any():
            continue
        for query in range(QUERIES):
            inside = (target[labelled] == query).double()
            entropies.append(
                F.binary_cross_entropy_with_logits(
                    large[image, query][labelled], inside, reduction="none"
                )
            )
            label = query if inside.any() and query < classes else classes
            terms.append(-weight[label] * logits[image, query].double().log_softmax(-1)[label])
            weights.append(weight[label])
    return sum(terms) / sum(weights), torch.cat(entropies).mean()


def test_loss_of_many_classes_leaves_ignored_pixels_out():
    head = make_head(4, no_object_weight=0.3).eval()
    levels, masks = pyramid(3), blocks(3, classes=4)
    masks[0, :, 40:], masks[1, :7], masks[2] = 255, 255, 255
    found = head.loss(levels, masks, head.totals(masks))
    expected = restated(*head(levels), masks, 4, 0.3)
    for name, value in zip(("class", "mask"), expected, strict=True):
        torch.testing.assert_close(found[name].double(), value, atol=1e-5, rtol=0)


def test_predictions_at_ignored_pixels_change_nothing():
    head = make_head(4, dice_weight=1.0)
    masks = blocks(classes=4)
    masks[:, :, 40:] = 255
    targets, totals = head._targets(masks), head.totals(masks)
    logits, maps = torch.randn(2, QUERIES, 5), torch.randn(2, QUERIES, GRID, GRID)
    before = head.fixed(logits, maps.requires_grad_(), targets, totals)
    gradient = torch.autograd.grad(before["mask"] + before["dice"], maps)[0]
    # the cell that begins at pixel 32 reaches over
    assert not gradient[..., 3:].any()
    assert gradient[..., :3].all()
    with torch.no_grad():
        maps[..., 3:] = 100.0
    assert head.fixed(logits, maps, targets, totals) == before


@pytest.mark.parametrize(
    "settings", [{}, {"assignment": "hungarian", "points": 60, "importance_ratio": 0.0}]
)
def test_micro_batches_add_up(settings):
    head = make_head(4, norm="group", dropout=0.0, dice_weight=1.0, **settings)
    levels, masks = pyramid(3), blocks(3, classes=4)
    masks[0, :20], masks[1] = 255, 255
    totals, gradients = head.totals(masks), []
    for parts in ([slice(0, 3)], [slice(0, 1), slice(1, 2), slice(2, 3)]):
        head.zero_grad()
        for part in parts:
            # matching and masks at the same points, whatever the number of images
            head.matched.draw = same_points
            losses = head.loss({"p3": levels["p3"][part]}, masks[part], totals)
            sum(losses.values()).backward()
        gradients.append(torch.cat([each.grad.flatten() for each in head.parameters()]))
    whole, summed = gradients
    assert (whole - summed).abs().max() < 1e-5 * whole.abs().max()


def same_points(predictions, targets):
    """The same random points for every image and segment, and no others."""
    pairs = sum(map(len, targets.classes))
    points = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    return Points(
        points.expand(predictions, len(targets.classes), -1, -1),
        points[:0].expand(predictions, pairs, -1, -1),
        points.expand(predictions, pairs, -1, -1),
    )


def test_background_is_where_no_object_scores_one_half():
    head = make_head(3, background=1).eval()
    with torch.no_grad():
        levels = pyramid()
        levels["p3"] *= 5
        predicted = head.predict(levels, (80, 80))
        scores, (logits, maps) = predicted.at((80, 80)), head(levels)
        shares = F.interpolate(maps, size=(80, 80), mode="bilinear").sigmoid()
        objects = torch.einsum("bqk,bqhw->bkhw", logits.softmax(-1)[..., :-1], shares)
    torch.testing.assert_close(scores[:, [0, 2]], objects)
    assert (scores[:, 1] == 0.5).all()
    expected = torch.where(objects.amax(1) > 0.5, 2 * objects.argmax(1), 1)
    assert torch.equal(predicted.labels((80, 80)), expected)
    # queries are those of the head: none of them speaks of the background
    queries = predicted.queries((80, 80))
    assert queries.classes.shape == (2, QUERIES, 3)
    assert not queries.classes[..., 1].any()
    torch.testing.assert_close(queries.masks, shares)


def test_positions_of_any_size():
    head = make_head()
    grid = head.positions.weight.detach().unflatten(0, (GRID, GRID)).permute(2, 0, 1)
    torch.testing.assert_close(head._positions(GRID, GRID), grid)
    expected = F.interpolate(grid[None], size=(11, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head._positions(11, 8), expected[0])
    # a small image trains all of them, and equal ones stay as they are
    small = head._positions(2, 1)
    assert torch.autograd.grad(small.sum(), head.positions.weight)[0].all()
    nn.init.ones_(head.positions.weight)
    torch.testing.assert_close(head._positions(2, 1), torch.ones(HIDDEN, 2, 1))


def test_positions_begin_at_zero_and_have_no_weight_decay():
    head = QueryDecoderHead(make_spec(), 2, LEVEL)
    assert not head.positions.weight.any()
    assert undecayed_names(head) >= {"positions.weight", "queries.weight"}


def test_frozen_features_give_the_same_loss():
    encoder = build_encoder(DARKNET.model_copy(update={"freeze": "body"}))
    segmenter = build_segmenter(make_spec(dropout=0.0), encoder, 3, seed=0).train()
    images = torch.randint(0, 256, (2, 3, 75, 101), dtype=torch.uint8)
    masks = torch.randint(0, 3, (2, 75, 101))
    expected = segmenter.loss(images, masks)
    assert segmenter.loss(segmenter.features(images), masks) == expected


def test_every_product_is_counted():
    segmenter = build_segmenter(make_spec(), build_encoder(DARKNET), 3, seed=0).eval()
    total, parts = count_flops(
        segmenter, torch.zeros(1, 3, 64, 96), ("encoder.body", "encoder.neck", "head")
    )
    tokens, width, inner = 4 * 6, HIDDEN, 40
    own = QUERIES * (4 * width**2 + 2 * QUERIES * width)
    across = 2 * QUERIES * width**2 + 2 * tokens * width**2 + 2 * QUERIES * tokens * width
    layer = own + across + 2 * QUERIES * width * inner
    ends = QUERIES * width * (4 + width) + tokens * width**2 + QUERIES * tokens * width
    positions = width * (4 * GRID * GRID + tokens * GRID)
    # as counted: five for each value of a LayerNorm, two for one of a BatchNorm
    norms = 3 * 3 * 5 * QUERIES * width + 2 * tokens * width
    assert sum(parts.values()) == total
    assert parts["head"] == tokens * 4 * 32 * width + 3 * layer + ends + positions + norms


@pytest.mark.parametrize(
    ("settings", "classes", "words"),
    [
        ({"heads": 5}, 2, "5 does not divide segmenter.hidden"),
        ({"queries": 3}, 4, "gives each of 4 classes.*Set queries to 4"),
        ({"background": 2}, 2, "background is 2.*2 classes"),
        ({"background": 0}, 1, "background is 0.*1 classes"),
    ],
)
def test_settings_that_do_not_fit(make_encoder, settings, classes, words):
    with pytest.raises(InputError, match=words):
        build_segmenter(make_spec(**settings), make_encoder(), classes, seed=0)


def test_points_without_matching_are_refused():
    with pytest.raises(InputError, match="points is read with assignment: hungarian"):
        load_segmenter("query_decoder", {"points": 100})
    assert load_segmenter("query_decoder_matched", {"points": 100}).points == 100
    resolved = load_segmenter("query_decoder").model_dump()
    assert load_segmenter(resolved).model_dump() == resolved
