"""The head and its loss against the official Mask2Former repository, with the weights converted
by name."""

import re
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters.heads.mask2former import Mask2FormerHead
from encoder_ablations.segmenters.ops.official_operator import provide_operator
from encoder_ablations.segmenters.spec import Mask2FormerSpec

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")
provide_operator()
if (
    find_spec("mask2former") is None
):  # importorskip would also skip where our operator is what is missing
    pytest.skip("the official Mask2Former is not on PYTHONPATH", allow_module_level=True)

from detectron2.layers import ShapeSpec  # noqa: E402
from mask2former.modeling.criterion import SetCriterion  # noqa: E402
from mask2former.modeling.matcher import HungarianMatcher  # noqa: E402
from mask2former.modeling.pixel_decoder.msdeformattn import MSDeformAttnPixelDecoder  # noqa: E402
from mask2former.modeling.transformer_decoder.mask2former_transformer_decoder import (  # noqa: E402
    MultiScaleMaskedTransformerDecoder,
)

CLASSES, HIDDEN, INNER, CHANNELS = 5, 64, 96, 32
SPEC = Mask2FormerSpec(
    name="mask2former",
    queries=20,
    hidden=HIDDEN,
    heads=4,
    encoder_layers=2,
    encoder_feedforward=INNER,
    decoder_layers=3,
    decoder_feedforward=INNER,
    points=300,
    ignored_pixels="negative",
)
NAMES = [
    (r"pixel_decoder\.input_proj\.", "pixel_decoder.input_projections."),
    (r"pixel_decoder\.transformer\.level_embed", "pixel_decoder.level_embed"),
    (r"pixel_decoder\.transformer\.encoder\.", "pixel_decoder.encoder."),
    (r"pixel_decoder\.mask_features\.", "pixel_decoder.mask_projection."),
    (r"pixel_decoder\.(adapter|layer)_1\.norm\.", r"pixel_decoder.\1_1.1."),
    (r"pixel_decoder\.(adapter|layer)_1\.(weight)", r"pixel_decoder.\1_1.0.\2"),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"\.linear([12])\.", r".fc\1."),
    (
        r"decoder\.transformer_self_attention_layers\.(\d+)\.self_attn",
        r"decoder.layers.\1.self_attn",
    ),
    (
        r"decoder\.transformer_self_attention_layers\.(\d+)\.norm",
        r"decoder.layers.\1.self_attn_layer_norm",
    ),
    (
        r"decoder\.transformer_cross_attention_layers\.(\d+)\.multihead_attn",
        r"decoder.layers.\1.cross_attn",
    ),
    (
        r"decoder\.transformer_cross_attention_layers\.(\d+)\.norm",
        r"decoder.layers.\1.cross_attn_layer_norm",
    ),
    (r"decoder\.transformer_ffn_layers\.(\d+)\.norm", r"decoder.layers.\1.final_layer_norm"),
    (r"decoder\.transformer_ffn_layers\.", "decoder.layers."),
    (r"decoder\.decoder_norm\.", "decoder.layernorm."),
    (r"decoder\.mask_embed\.layers\.(\d)\.", r"decoder.mask_predictor.mask_embedder.\1.0."),
    (r"^decoder\.query_feat\.", "queries_features."),
    (r"^decoder\.query_embed\.", "queries_embedder."),
    (r"^decoder\.level_embed\.", "level_embed."),
    (r"^decoder\.class_embed\.", "class_predictor."),
    (r"^(decoder|queries|level_embed)", r"transformer_module.\1"),
]


class Official(nn.Module):
    """The official pixel decoder, transformer decoder and criterion."""

    def __init__(self):
        super().__init__()
        self.pixel_decoder = MSDeformAttnPixelDecoder(
            {f"p{i}": ShapeSpec(channels=CHANNELS, stride=2**i) for i in range(2, 6)},
            transformer_dropout=0.0,
            transformer_nheads=4,
            transformer_dim_feedforward=INNER,
            transformer_enc_layers=2,
            conv_dim=HIDDEN,
            mask_dim=HIDDEN,
            norm="GN",
            transformer_in_features=["p3", "p4", "p5"],
            common_stride=4,
        )
        self.decoder = MultiScaleMaskedTransformerDecoder(
            HIDDEN,
            num_classes=CLASSES,
            hidden_dim=HIDDEN,
            num_queries=SPEC.queries,
            nheads=4,
            dim_feedforward=INNER,
            dec_layers=3,
            pre_norm=False,
            mask_dim=HIDDEN,
            enforce_input_project=False,
        )

    def forward(self, pyramid):
        masks, _, features = self.pixel_decoder.forward_features(pyramid)
        return self.decoder(features, masks)

    def loss(self, outputs, masks):
        targets = []
        for mask in masks:
            labels = torch.tensor(
                [label for label in mask.unique().tolist() if label != 255], dtype=torch.int64
            )
            targets.append({"labels": labels, "masks": mask == labels[:, None, None]})
        matcher = HungarianMatcher(
            cost_class=2.0, cost_mask=5.0, cost_dice=5.0, num_points=SPEC.points
        )
        criterion = SetCriterion(
            CLASSES,
            matcher=matcher,
            weight_dict={},
            eos_coef=0.1,
            losses=["labels", "masks"],
            num_points=SPEC.points,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
        )
        return sum(
            value * (2 if name.startswith("loss_ce") else 5)
            for name, value in criterion(outputs, targets).items()
        )


def to_ours(state):
    """Official names and tensors -> those of ``Mask2FormerHead``: renamed, self-attention split
    into three."""
    result = {}
    for name, value in state.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        joint = re.fullmatch(r"(.*\.self_attn\.)in_proj_(weight|bias)", name)
        if joint:
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                result[f"{joint[1]}{part}_proj.{joint[2]}"] = chunk
        else:
            result[name] = value
    return result


def to_official(state, names):
    """The way back: tensors of ``Mask2FormerHead`` under the official names."""
    result = {}
    for name in names:
        ours = list(to_ours({name: torch.zeros(3, 1)}))
        result[name] = torch.cat([state[each] for each in ours])
    return result


def build_official(seed):
    torch.manual_seed(seed)
    return Official()


def build_ours(seed):
    torch.manual_seed(seed)
    return Mask2FormerHead(SPEC, CLASSES, [Level(f"p{i}", CHANNELS, 2**i) for i in range(2, 6)])


def pyramid():
    generator = torch.Generator().manual_seed(0)
    return {
        f"p{i}": torch.randn(2, CHANNELS, 96 // 2**i, 128 // 2**i, generator=generator)
        for i in range(2, 6)
    }


def random_masks():
    low = torch.randint(0, CLASSES, (2, 1, 6, 8), generator=torch.Generator().manual_seed(0))
    masks = F.interpolate(low.float(), scale_factor=16).squeeze(1).long()
    masks[:, 20:40, 30:70] = 255
    return masks


def test_logits_and_loss_with_converted_weights():
    official, ours = build_official(0), build_ours(1)
    ours.load_state_dict(to_ours(official.state_dict()))
    ours.set_loss.official_order = True
    levels, masks = pyramid(), random_masks()
    outputs = official(levels)
    hidden_states, mask_logits = ours(levels)
    everything = [*outputs["aux_outputs"], outputs]
    for expected, hidden, mask in zip(everything, hidden_states, mask_logits, strict=True):
        torch.testing.assert_close(
            ours.class_predictor(hidden.transpose(0, 1)), expected["pred_logits"], **CLOSE
        )
        torch.testing.assert_close(mask, expected["pred_masks"], **CLOSE)
    torch.manual_seed(5)
    expected = official.loss(outputs, masks)
    torch.manual_seed(5)
    loss = sum(ours.loss(levels, masks, ours.totals(masks)).values())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    expected.backward()
    loss.backward()
    gradients = to_ours({name: parameter.grad for name, parameter in official.named_parameters()})
    for name, parameter in ours.named_parameters():
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 1e-3 * gradients[name].norm() + 1e-7, name


CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def test_conversion_back_and_forth():
    official, ours = build_official(0), build_ours(1)
    official.load_state_dict(to_official(ours.state_dict(), official.state_dict()))
    for name, value in to_ours(official.state_dict()).items():
        assert torch.equal(value, ours.state_dict()[name]), name
    levels = pyramid()
    with torch.no_grad():
        torch.testing.assert_close(ours(levels)[1][-1], official(levels)["pred_masks"], **CLOSE)


BUILDS = 12


@pytest.fixture(scope="module")
def draws():
    """Values of every parameter in several official and several of our builds."""
    official = [to_ours(build_official(seed).state_dict()) for seed in range(BUILDS)]
    ours = [build_ours(seed + 100).state_dict() for seed in range(BUILDS)]
    return [
        {name: torch.stack([each[name] for each in builds]) for name in ours[0]}
        for builds in (official, ours)
    ]


@pytest.mark.parametrize("name", list(build_ours(0).state_dict()))
def test_initial_distribution(draws, name):
    """Same mean, spread and extremes, over several builds."""
    official, ours = (each[name].flatten() for each in draws)
    deviation = official.std()
    if deviation == 0 or name.endswith("sampling_offsets.bias"):
        torch.testing.assert_close(ours, official)
        return
    samples = len(official)
    assert (ours.mean() - official.mean()).abs() < 6 * deviation / samples**0.5
    assert (ours.std() / deviation - 1).abs() < 6 / samples**0.5
    normal = re.search("embed|queries", name)
    assert abs(ours.abs().max() / official.abs().max() - 1) < (0.3 if normal else 20 / samples)
