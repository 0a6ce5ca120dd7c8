"""Blocks with attention weights from elsewhere: the model's own softmax gives the model."""

import pytest
import torch
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock

from encoder_ablations.encoders.table.lookup import ROWS
from encoder_ablations.encoders.table.rows import ViTRow
from encoder_ablations.utils.errors import InputError
from tests.encoders.bodies.test_vit_blocks import REFUSED, images_of, run
from tests.encoders.small_vits import SIDE, randomise, small_encoder

TAKEN_APART = [row.name for row in ROWS if isinstance(row, ViTRow) and row.name not in REFUSED]
FAMILIES = [
    *("clip_b16", "siglip_b16", "dinov2_b14", "dinov3_b16", "tipsv2_b14", "eva02_b14"),
    *("aimv2_l14", "pe_core_b16", "vit_small_patch16_rope_mixed_224"),
]
"""One for each way in which blocks are made: norms, rotary, LayerScale, gates, prefix tokens."""


CLOSE = {"atol": 1e-12, "rtol": 1e-12}
"""In double precision, where two orders of the same steps give the same numbers."""


def small_body(monkeypatch, name, fused=True, **fields):
    """In double precision."""
    body = small_encoder(monkeypatch, name, neck="none", **fields).body
    for module in body.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    return body.double()


def double_images(size):
    return images_of(size).double()


def softmax(given):
    return (given.scale * given.queries @ given.keys.mT).softmax(-1)


def identity(given):
    return torch.eye(given.keys.shape[2], dtype=given.keys.dtype)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", [*TAKEN_APART, "vit_small_patch16_rope_mixed_224"])
def test_the_models_own_softmax_gives_the_model(monkeypatch, name, fused):
    body = small_body(monkeypatch, name, fused)
    images = double_images((75, 101))
    blocks = body.as_blocks()
    with torch.no_grad():
        *_, expected = body(images)
        tokens = blocks.embed(images)
        for index in range(blocks.depth):
            after = blocks.attend(index, tokens, softmax)
            expected_after = blocks.run(index, tokens).values
            torch.testing.assert_close(after.values, expected_after, **CLOSE)
            tokens = after
        values = blocks.norm(tokens) if body.final_norm else tokens.values
    torch.testing.assert_close(tokens.as_map(values), expected, **CLOSE)


SHARED = {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 2}
GATED = {"swiglu_mlp": True, "gated_attn": True, "init_values": 0.5, "scale_attn_inner": True}


@pytest.mark.parametrize("options", [SHARED, GATED, GATED | {"scale_mlp": True, "qk_norm": True}])
def test_gated_mlps_and_shared_keys_are_the_model(monkeypatch, options):
    """SwiGLU, a gate behind the attention, and heads that share their keys and values."""
    body = small_body(monkeypatch, "dinov3_b16")
    own = body.model.blocks[1].attn
    options = options | {"num_prefix_tokens": 5, "rotate_half": own.rotate_half}
    body.model.blocks[1] = EvaBlock(64, 4, **options).eval()
    randomise(body.model.blocks[1])
    blocks = body.double().as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(double_images((SIDE, SIDE)))
        found, expected = blocks.attend(1, tokens, softmax), blocks.run(1, tokens)
    torch.testing.assert_close(found.values, expected.values, **CLOSE)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("feedforward", [True, False])
@pytest.mark.parametrize("name", ["clip_b16", "dinov2_b14", "dinov3_b16"])
def test_halves_of_a_block_are_left_out(monkeypatch, name, residual, feedforward):
    """As written out with timm's own modules."""
    body = small_body(monkeypatch, name)
    blocks, block = body.as_blocks(), body.model.blocks[1]
    rope = {}
    with torch.no_grad():
        tokens = blocks.embed(double_images((SIDE, SIDE)))
        if tokens.rotary is not None:
            rope = {"rope": tokens.rotary}
        attended = block.attn(block.norm1(tokens.values), **rope)
        attended = attended * getattr(block, "gamma_1", 1)
        attended = getattr(block, "ls1", torch.nn.Identity())(attended)
        expected = attended + tokens.values * residual
        if feedforward:
            change = block.mlp(block.norm2(expected)) * getattr(block, "gamma_2", 1)
            expected = expected + getattr(block, "ls2", torch.nn.Identity())(change)
        found = blocks.attend(1, tokens, softmax, residual, feedforward)
    torch.testing.assert_close(found.values, expected, **CLOSE)


@pytest.mark.parametrize("name", ["clip_b16", "siglip_b16", "eva02_b14", "tipsv2_b14"])
def test_identity_weights_are_the_value_path(monkeypatch, name):
    """MaskCLIP: every token takes its own value, ``proj(v)``, to the bit."""
    body = small_body(monkeypatch, name)
    blocks, block = body.as_blocks(), body.model.blocks[-1]
    attention = block.attn
    with torch.no_grad():
        tokens = blocks.embed(double_images((75, 101)))
        found = blocks.attend(3, tokens, identity, residual=False, feedforward=False).values
        normed = block.norm1(tokens.values)
        if attention.qkv is None:
            value = attention.v_proj(normed)
        else:
            value = attention.qkv(normed).chunk(3, dim=-1)[2].contiguous()
        expected = attention.proj(attention.norm(value))
        if name == "tipsv2_b14":
            expected = block.ls1(expected)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_column_without_weight_has_no_influence(monkeypatch, name):
    blocks = small_body(monkeypatch, name).as_blocks()

    def blocking(given):
        logits = given.scale * given.queries @ given.keys.mT
        return logits.index_fill(-1, torch.tensor([7]), -torch.inf).softmax(-1)

    with torch.no_grad():
        tokens = blocks.embed(double_images((75, 101)))
        changed = blocks.embed(double_images((75, 101)))
        changed.values[:, 7] += 1
        one, other = (blocks.attend(2, each, blocking).values for each in (tokens, changed))
        free = blocks.attend(2, changed, softmax).values
    others = torch.arange(one.shape[1]) != 7
    assert torch.equal(one[:, others], other[:, others])
    assert not torch.allclose(one[:, others], free[:, others])


@pytest.mark.parametrize("name", ["dinov3_b16", "clip_b16"])
def test_the_function_is_told_where_the_patches_are(monkeypatch, name):
    blocks = small_body(monkeypatch, name).as_blocks()
    seen = []
    with torch.no_grad():
        tokens = blocks.embed(double_images((75, 101)))
        blocks.attend(0, tokens, lambda given: seen.append(given) or softmax(given))
    (given,) = seen
    assert given.tokens is tokens
    count = tokens.values.shape[1]
    assert given.queries.shape == given.keys.shape == given.values.shape == (2, 4, count, 16)
    assert given.scale == 0.25


def test_all_the_work_happens_within_calls_of_the_body(monkeypatch):
    body = small_body(monkeypatch, "clip_b16", text=True)
    depth, outside = [0], []
    body.register_forward_pre_hook(lambda *_: depth.append(1))
    body.register_forward_hook(lambda *_: depth.pop() and None)
    for module in body.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda *_: outside.append(depth[-1]))
    blocks = body.as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(double_images((SIDE, SIDE)))
        blocks.in_text_space(blocks.attend(3, tokens, softmax))
    assert outside == [1] * 5


@pytest.mark.parametrize("kind", [ResPostBlock, ParallelScalingBlock])
def test_other_blocks_are_refused(monkeypatch, kind):
    body = small_body(monkeypatch, "vit_base_patch16_224")
    body.model.blocks[2] = kind(64, 4)
    blocks = body.as_blocks()
    tokens = blocks.embed(double_images((SIDE, SIDE)))
    with pytest.raises(InputError, match=f"{kind.__name__} cannot be taken apart") as raised:
        blocks.attend(0, tokens, softmax)
    assert "\n" not in str(raised.value)


def test_attend_after_attend_is_run_after_run(monkeypatch):
    blocks = small_body(monkeypatch, "dinov3_b16").as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(double_images((SIDE, SIDE)))
        found = tokens
        for index in range(4):
            found = blocks.attend(index, found, softmax)
        expected = run(blocks, tokens)
    torch.testing.assert_close(found.values, expected.values, **CLOSE)


def test_in_single_precision_it_is_the_model_to_a_millionth(monkeypatch):
    body = small_body(monkeypatch, "clip_b16").float()
    blocks = body.as_blocks()
    with torch.no_grad():
        tokens = blocks.embed(images_of((SIDE, SIDE)))
        found, expected = blocks.attend(0, tokens, softmax), blocks.run(0, tokens)
    assert (found.values - expected.values).abs().max() <= 1e-6 * expected.values.abs().max()
