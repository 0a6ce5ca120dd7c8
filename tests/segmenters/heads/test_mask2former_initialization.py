"""The initial weights against the rules of the official repository (``mask2former/modeling``)."""

import math
import re

import pytest
import torch
from torch import nn

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters.heads.mask2former import Mask2FormerHead
from encoder_ablations.segmenters.heads.mask2former_initialization import initialize
from encoder_ablations.segmenters.spec import Mask2FormerSpec

HIDDEN, INNER, CHANNELS, CLASSES = 64, 160, 96, 9
SPEC = Mask2FormerSpec(
    name="mask2former",
    queries=50,
    hidden=HIDDEN,
    heads=4,
    encoder_layers=2,
    encoder_feedforward=INNER,
    decoder_layers=2,
    decoder_feedforward=INNER,
)


def xavier(fan_in, fan_out):
    return math.sqrt(6 / (fan_in + fan_out))


def default(fan_in):
    return 1 / math.sqrt(fan_in)


NORMAL, ZEROS, ONES = "normal", "zeros", "ones"
# Name -> NORMAL (mean 0, std 1), ZEROS, ONES, or the bound of a uniform distribution around 0.
RULES = {
    # msdeformattn.py
    r"pixel_decoder.input_projections.\d.0.weight": xavier(CHANNELS, HIDDEN),
    r"pixel_decoder.input_projections.\d.0.bias": ZEROS,
    r"pixel_decoder.level_embed": NORMAL,
    r"pixel_decoder.encoder.layers.\d.self_attn.sampling_offsets.weight": ZEROS,
    r"pixel_decoder.encoder.layers.\d.self_attn.attention_weights.(weight|bias)": ZEROS,
    r"pixel_decoder.encoder.layers.\d.self_attn.(value|output)_proj.weight": xavier(HIDDEN, HIDDEN),
    r"pixel_decoder.encoder.layers.\d.self_attn.(value|output)_proj.bias": ZEROS,
    r"pixel_decoder.encoder.layers.\d.fc\d.weight": xavier(HIDDEN, INNER),
    r"pixel_decoder.encoder.layers.\d.fc1.bias": default(HIDDEN),
    r"pixel_decoder.encoder.layers.\d.fc2.bias": default(INNER),
    r"pixel_decoder.adapter_1.0.weight": math.sqrt(3 / CHANNELS),
    r"pixel_decoder.layer_1.0.weight": math.sqrt(3 / (9 * HIDDEN)),
    r"pixel_decoder.mask_projection.weight": math.sqrt(3 / HIDDEN),
    r"pixel_decoder.mask_projection.bias": ZEROS,
    # mask2former_transformer_decoder.py
    r"transformer_module.(queries_embedder|queries_features|level_embed).weight": NORMAL,
    r"transformer_module.decoder.layers.\d.cross_attn.in_proj_weight": xavier(HIDDEN, 3 * HIDDEN),
    r"transformer_module.decoder.layers.\d.cross_attn.(in_proj_bias|out_proj.bias)": ZEROS,
    r"transformer_module.decoder.layers.\d.self_attn.[qkv]_proj.weight": xavier(HIDDEN, 3 * HIDDEN),
    r"transformer_module.decoder.layers.\d.self_attn.\w+_proj.bias": ZEROS,
    r"transformer_module.decoder.layers.\d.(self|cross)_attn.out_proj.weight": xavier(
        HIDDEN, HIDDEN
    ),
    r"transformer_module.decoder.layers.\d.fc\d.weight": xavier(HIDDEN, INNER),
    r"transformer_module.decoder.layers.\d.fc1.bias": default(HIDDEN),
    r"transformer_module.decoder.layers.\d.fc2.bias": default(INNER),
    r"transformer_module.decoder.mask_predictor.mask_embedder.\d.0.(weight|bias)": default(HIDDEN),
    r"class_predictor.(weight|bias)": default(HIDDEN),
    # GroupNorm and LayerNorm
    r"pixel_decoder.(input_projections.\d|adapter_1|layer_1).1.weight": ONES,
    r"pixel_decoder.(input_projections.\d|adapter_1|layer_1).1.bias": ZEROS,
    r".*layer_?norm.weight": ONES,
    r".*layer_?norm.bias": ZEROS,
}


def build(seed=0):
    torch.manual_seed(seed)
    return Mask2FormerHead(SPEC, CLASSES, [Level(f"p{i}", CHANNELS, 2**i) for i in range(2, 6)])


HEAD = build()
PARAMETERS = [
    name for name, _ in HEAD.named_parameters() if not name.endswith("sampling_offsets.bias")
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_distribution(name):
    rules = [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, name)]
    assert len(rules) == 1, f"{name}: {rules}"
    value, rule = HEAD.get_parameter(name).detach().flatten(), rules[0]
    if rule in (ZEROS, ONES):
        assert value.eq(rule == ONES).all()
        return
    deviation = 1.0 if rule == NORMAL else rule / math.sqrt(3)
    samples = len(value)
    assert value.mean().abs() < 4.5 * deviation / math.sqrt(samples)
    assert (value.std() / deviation - 1).abs() < 4.5 / math.sqrt(samples)
    if rule != NORMAL:
        assert value.abs().max() <= rule * (1 + 1e-6)
        assert value.abs().max() > rule * (1 - 10 / samples)


def test_sampling_offsets_point_around_the_clock():
    """4 heads: right, down, left, up, by 1 to 4 cells of each level."""
    expected = (
        torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[:, None, None]
        * torch.arange(1, 5)[:, None]
    )
    for layer in HEAD.pixel_decoder.encoder.layers:
        offsets = layer.self_attn.sampling_offsets.bias.detach().view(4, 3, 4, 2)
        torch.testing.assert_close(offsets, expected.expand(4, 3, 4, 2), atol=1e-6, rtol=0)


def test_encoder_layers_start_as_copies_but_for_their_matrices():
    """The official layers are deep copies, of which ``_reset_parameters`` draws the matrices
    anew."""
    first, second = HEAD.pixel_decoder.encoder.layers
    assert torch.equal(first.fc1.bias, second.fc1.bias)
    assert torch.equal(first.fc2.bias, second.fc2.bias)
    assert not torch.equal(first.fc1.weight, second.fc1.weight)


def test_every_parameter_is_set():
    head = build()
    for parameter in head.parameters():
        nn.init.constant_(parameter, torch.nan)
    initialize(head)
    assert all(parameter.isfinite().all() for parameter in head.parameters())


def test_same_seed_same_bits():
    first, second, other = build(3), build(3), build(4)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.class_predictor.weight, other.class_predictor.weight)
