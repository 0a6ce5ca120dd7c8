"""The blocks of vision transformers one by one: the model's own forward pass, and exact masks."""

import pytest
import timm
import torch
from torch import nn

from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import ROWS
from encoder_ablations.encoders.table.rows import ViTRow
from encoder_ablations.utils.errors import InputError
from tests.encoders.small_vits import SIDE, small_encoder

REFUSED = ["sam_b16", "cradio_v3_b16", "siglip2_naflex_b16", "beitv2_base_patch16_224"]
"""Vision transformers whose blocks take no mask; the last one is not in the table."""
VITS = [row.name for row in ROWS if isinstance(row, ViTRow)]
OTHERS = [
    "vit_small_patch16_rope_mixed_224",
    "deit_tiny_distilled_patch16_224",
    "eva_giant_patch14_224",
]
RUN = [name for name in [*VITS, *OTHERS] if name not in REFUSED]
FAMILIES = [
    *("clip_b16", "siglip_b16", "dinov2_b14", "dinov2_reg_b14", "dinov3_b16", "mae_b16"),
    *("aimv2_l14", "eva02_b14", "pe_core_b16", "vit_small_patch16_rope_mixed_224"),
]
"""One for each way in which tokens are embedded and blocks are called."""
SIZES = [(SIDE, SIDE), (75, 101)]


def small_body(monkeypatch, name, **fields):
    return small_encoder(monkeypatch, name, neck="none", **fields).body


def images_of(size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def run(blocks, tokens, masks=None):
    for index in range(blocks.depth):
        tokens = blocks.run(index, tokens, None if masks is None else masks[index])
    return tokens


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RUN)
def test_all_blocks_in_turn_are_the_forward_pass(monkeypatch, name, size):
    body = small_body(monkeypatch, name)
    images = images_of(size)
    blocks = body.as_blocks()
    with torch.no_grad():
        *_, expected = body(images)
        tokens = run(blocks, blocks.embed(images))
        values = blocks.norm(tokens) if body.final_norm else tokens.values
    assert (blocks.depth, blocks.width) == (4, 64)
    assert values.shape[1] == body.prefix_tokens + body.tokens(*size)
    assert (tokens.as_map(values) - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_blocks_without_masks_are_refused(monkeypatch, name):
    body = small_body(monkeypatch, name)
    with pytest.raises(InputError, match=rf"{type(body.model).__name__} takes none") as raised:
        body.as_blocks()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["darknet_tiny", "test_resnet", "unet_tiny"])
def test_other_bodies_are_refused(name):
    body = build_encoder(EncoderSpec(name=name, weights="random", neck="none")).body
    with pytest.raises(InputError, match="only plain vision transformers"):
        body.as_blocks()


def allowed(tokens, blocked):
    """T×T: nobody but itself attends to a blocked token."""
    count = tokens.values.shape[1]
    mask = torch.ones(count, count, dtype=torch.bool)
    mask[:, blocked] = False
    mask[blocked, blocked] = True
    return mask


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_blocked_token_has_no_influence(monkeypatch, name, fused, kind):
    body = small_body(monkeypatch, name)
    for module in body.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    blocks = body.as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(images_of((75, 101)))
        blocked = tokens.prefix + 3
        mask = allowed(tokens, blocked)
        if kind == "float":
            mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        changed = blocks.embed(images_of((75, 101)))
        changed.values[:, blocked] += 1
        one, other = (run(blocks, each, [mask] * 4).values for each in (tokens, changed))
        free = run(blocks, changed).values
    others = torch.arange(one.shape[1]) != blocked
    assert torch.equal(one[:, others], other[:, others])
    assert not torch.allclose(one[:, blocked], other[:, blocked])
    # without the mask it has
    assert not torch.allclose(one[:, others], free[:, others])


def test_every_block_has_its_own_mask(monkeypatch):
    """A token that is blocked in the second block still acts through the first."""
    blocks = small_body(monkeypatch, "dinov3_b16").as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(images_of((SIDE, SIDE)))
        mask = allowed(tokens, 7)
        found = [
            run(blocks, tokens, [mask if index == own else None for index in range(4)]).values
            for own in range(4)
        ]
        per_image = run(blocks, tokens, [mask.expand(2, 1, -1, -1), None, None, None]).values
    for one in range(4):
        assert not any(torch.allclose(found[one], found[two]) for two in range(one))
    torch.testing.assert_close(per_image, found[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_added_tokens_have_no_position(monkeypatch, name):
    """Their order does not matter, and unread they change nothing."""
    blocks = small_body(monkeypatch, name).as_blocks()
    more = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.no_grad():
        tokens = blocks.embed(images_of((75, 101)))
        plain = run(blocks, tokens).values
        one, other = (tokens.with_added(each) for each in (more, more[:, order]))
        count = plain.shape[1]
        assert one.added == slice(count, count + 5)
        unread = torch.ones(count + 5, count + 5, dtype=torch.bool)
        unread[:count, count:] = False
        silent = run(blocks, one, [unread] * 4).values
        first, second = (run(blocks, each).values for each in (one, other))
    torch.testing.assert_close(silent[:, :count], plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first[:, :count], second[:, :count], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first[:, count:][:, order], second[:, count:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first[:, :count], plain)


def test_all_the_work_happens_within_calls_of_the_body(monkeypatch):
    body = small_body(monkeypatch, "dinov2_b14")
    depth, outside = [0], []
    body.register_forward_pre_hook(lambda *_: depth.append(1))
    body.register_forward_hook(lambda *_: depth.pop() and None)
    for module in body.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm):
            module.register_forward_hook(lambda *_: outside.append(depth[-1]))
    blocks = body.as_blocks()
    with torch.no_grad():
        blocks.norm(run(blocks, blocks.embed(images_of((70, 70)))))
    assert len(outside) > 20
    assert set(outside) == {1}


def test_timm_alone_is_what_the_blocks_are_compared_with(monkeypatch):
    """Not our own body: a model as timm makes it, with its own forward pass."""
    body = small_body(monkeypatch, "vit_base_patch16_224")
    monkeypatch.undo()
    options = {"embed_dim": 64, "depth": 4, "num_heads": 4, "img_size": SIDE, "num_classes": 0}
    model = timm.create_model("vit_base_patch16_224", global_pool="", **options).eval()
    model.load_state_dict(body.model.state_dict())
    images = images_of((SIDE, SIDE))
    blocks = body.as_blocks()
    assert isinstance(body, ViTBody)
    with torch.no_grad():
        found = blocks.norm(run(blocks, blocks.embed(images)))
        assert (found - model.forward_features(images)).abs().max() <= 1e-6
