"""Every method is its published formula, written out here once more, on random weights."""

import math

import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.encoders.blocks import AttentionInput, Tokens
from encoder_ablations.segmenters.zero_shot.affinity import Guide, attention, proxy_logits
from encoder_ablations.segmenters.zero_shot.methods import METHODS, find_method
from encoder_ablations.segmenters.zero_shot.reading import WindowBatch, read
from encoder_ablations.segmenters.zero_shot.text_scores import text_scores
from encoder_ablations.utils.errors import InputError
from tests.segmenters.zero_shot.text_vit import DEPTH, HEADS, TextViT

SIZE = (20, 24)
GRID = (5, 6)
COUNT = 30


def images(seed=0):
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def texts(count=5):
    found = torch.randn(count, 12, generator=torch.Generator().manual_seed(1))
    return F.normalize(found, dim=1)


def features():
    """Of a second model, positively correlated as real ones are."""
    return 1 + torch.randn(2, 7, *GRID, generator=torch.Generator().manual_seed(2))


def region_ids():
    """2×H×W: three regions and, on the right, none."""
    ids = torch.ones(2, *SIZE, dtype=torch.long)
    ids[:, 8:] = 2
    ids[1, 12:, :12] = 3
    ids[:, :, 20:] = 0
    return ids


def patch_ids():
    return region_ids()[:, 2::4, 2::4].flatten(1)


def values_before_last(model):
    tokens = model.embed(images())
    for index in range(DEPTH - 1):
        tokens = model.run(index, tokens)
    return tokens.values


def softmax_of(left, right):
    """Softmax of scaled products of lists of vectors, one image and head at a time."""
    return torch.softmax(torch.matmul(left, right.mT) * left.shape[-1] ** -0.5, dim=-1)


def naclip_weights(keys):
    logits = torch.matmul(keys, keys.mT) * keys.shape[-1] ** -0.5
    addition = torch.zeros(COUNT + 1, COUNT + 1)
    for one in range(COUNT):
        for other in range(COUNT):
            down = one // GRID[1] - other // GRID[1]
            right = one % GRID[1] - other % GRID[1]
            addition[one + 1, other + 1] = math.exp(-(down**2 + right**2) / (2 * 5.0**2))
    return torch.softmax(logits + addition, dim=-1)


def unit_features(image):
    found = features()[image].flatten(1).T
    return found / found.norm(dim=1, keepdim=True)


def proxy_weights(image):
    """ProxyCLIP's equations, among patches alone."""
    similarity = unit_features(image) @ unit_features(image).T
    similarity = (similarity - similarity.mean() * 1.2) * 3.0
    similarity[similarity < 0] = -math.inf
    return similarity.softmax(-1)


def corrclip_weights(image):
    similarity = unit_features(image) @ unit_features(image).T
    ids = patch_ids()[image].tolist()
    mean = similarity.mean()
    allowed = torch.zeros(COUNT, COUNT, dtype=torch.bool)
    for one in range(COUNT):
        for other in range(COUNT):
            if ids[one] and ids[other]:
                allowed[one, other] = ids[one] == ids[other]
            else:
                allowed[one, other] = similarity[one, other] > mean
    similarity[~allowed] = -math.inf
    return (similarity * 4).softmax(-1)


def expected_patches(method, model):
    """The patches' features 2×30×12 by the published formula."""
    values, block = values_before_last(model), model.blocks[-1]
    own = F.linear(block.norm1(values), block.qkv.weight, block.qkv.bias)
    found = []
    for image in range(2):
        heads = []
        for head in range(HEADS):
            q, k, v = own[image].view(-1, 3, HEADS, 8)[:, :, head].unbind(1)
            weights = {
                "clip": lambda q=q, k=k, v=v: softmax_of(q, k),
                "maskclip": lambda q=q, k=k, v=v: torch.eye(COUNT + 1),
                "sclip": lambda q=q, k=k, v=v: softmax_of(q, q) + softmax_of(k, k),
                "clearclip": lambda q=q, k=k, v=v: softmax_of(q, q),
                "naclip": lambda q=q, k=k, v=v: naclip_weights(k),
                "segearth": lambda q=q, k=k, v=v: sum(softmax_of(x, x) for x in (q, k, v)),
            }
            if method == "proxyclip":
                # the class token is left out
                heads.append(proxy_weights(image) @ v[1:])
            elif method == "corrclip":
                heads.append(corrclip_weights(image) @ v[1:])
            else:
                heads.append(weights[method]() @ v)
        found.append(torch.cat(heads, dim=-1))
    out = F.linear(torch.stack(found), block.out.weight, block.out.bias)
    if method in ("clip", "maskclip", "sclip"):
        out = values + out
        out = out + block.mlp(block.norm2(out))
    return model.projection(model.last_norm(out))


def read_with(method, model=None, **changed):
    windows = WindowBatch(images())
    if find_method(method).affinity in ("vfm", "vfm_in_regions"):
        windows = WindowBatch(images(), [region_ids()], features())
    return read(model or TextViT(), windows, find_method(method, **changed), Guide())


FORMULAS = sorted(METHODS.keys() - {"reseg"})


@pytest.mark.parametrize("method", FORMULAS)
@torch.no_grad()
def test_a_method_is_its_formula(method):
    model = TextViT()
    found = read_with(method, model).patches
    expected = expected_patches(method, model)
    patches = expected[:, -COUNT:].transpose(1, 2).unflatten(2, GRID)
    assert (found - patches).abs().max() <= 1e-6
    if expected.shape[1] == COUNT + 1:
        assert (read_with(method, model).class_token - expected[:, 0]).abs().max() <= 1e-6


@torch.no_grad()
def test_methods_differ():
    """So that no test above passes for another method's formula."""
    found = [read_with(method).patches for method in FORMULAS]
    for one, patches in enumerate(found):
        assert all((patches - other).abs().max() > 1e-4 for other in found[:one])


@torch.no_grad()
def test_the_class_tokens_scores_are_subtracted():
    """SegEarth-OV: cosines of patches less 0.3 of those of the class token."""
    model = TextViT()
    expected = F.normalize(expected_patches("segearth", model), dim=-1) @ texts().T
    patches = expected[:, 1:] - 0.3 * expected[:, :1]
    method = find_method("segearth")
    found = text_scores(read_with("segearth"), texts(), SIZE, 4.0, method.class_token)
    large = F.interpolate(
        patches.transpose(1, 2).unflatten(2, GRID), size=SIZE, mode="bilinear", align_corners=False
    )
    assert (found - large).abs().max() <= 1e-6


@torch.no_grad()
def test_features_are_enlarged_before_they_are_compared():
    """ReSeg-CLIP resizes features, the others cosines."""
    reading = read_with("reseg", plan=())
    large = F.interpolate(reading.patches, size=SIZE, mode="bilinear", align_corners=False)
    expected = torch.einsum("wdhx,qd->wqhx", large / large.norm(dim=1, keepdim=True), texts())
    found = text_scores(reading, texts(), SIZE, 4.0, enlarged="features")
    assert (found - expected).abs().max() <= 1e-6
    other = text_scores(reading, texts(), SIZE, 4.0)
    assert (found - other).abs().max() > 1e-3


@torch.no_grad()
def test_switches_replace_those_of_the_method():
    """ClearCLIP with residual and MLP is SCLIP without the keys' half."""
    model = TextViT()
    method = find_method("sclip", affinity="qq")
    kept = read(model, WindowBatch(images()), method, Guide())
    changed = read_with("clearclip", model, residual=True, feedforward=True)
    assert torch.equal(kept.patches, changed.patches)
    assert not torch.equal(kept.patches, read_with("clearclip", model, residual=True).patches)


def test_proxy_similarities_that_are_all_alike_leave_each_patch_itself():
    """All are then below 1.2 times their mean; a softmax over nothing would be undefined."""
    weights = proxy_logits(torch.ones(1, 4, 2, 3), 1.2, 3.0).softmax(-1)
    assert torch.equal(weights[0], torch.eye(6))


def test_kk_alone():
    given = torch.randn(1, 2, 5, 3)
    tokens = Tokens(torch.zeros(1, 5, 6), 1, (2, 2))
    qkv = AttentionInput(2 * given, given, 3 * given, 0.5, tokens)
    expected = (given @ given.mT * 0.5).softmax(-1)
    assert torch.equal(attention("kk", qkv, Guide()), expected)


def test_a_body_without_class_token():
    with pytest.raises(InputError, match="class_token"):
        read_with("segearth", TextViT(prefix=0))
    assert read_with("segearth", TextViT(prefix=0), class_token=0.0).class_token is None
