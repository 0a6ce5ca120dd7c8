"""The unmodified official code really calls our operator, and computes what it computes with its
own slow path.

Its bare ``except`` would hide a failure of ours; so what computes is watched, and the slow path is
made to raise.
"""

from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from encoder_ablations.segmenters.ops import official_operator
from encoder_ablations.segmenters.ops.official_operator import (
    FAILED,
    AttentionWatch,
    provide_operator,
)

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")
PATH = provide_operator()
if (
    find_spec("mask2former") is None
):  # importorskip would also skip where our operator is what is missing
    pytest.skip("the official Mask2Former is not on PYTHONPATH", allow_module_level=True)

import mask2former  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.layers import ShapeSpec  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402
from detectron2.projects.deeplab import add_deeplab_config  # noqa: E402
from detectron2.structures import Instances  # noqa: E402
from mask2former.modeling import criterion  # noqa: E402
from mask2former.modeling.pixel_decoder.msdeformattn import MSDeformAttnPixelDecoder  # noqa: E402
from mask2former.modeling.pixel_decoder.ops.functions import ms_deform_attn_func  # noqa: E402
from mask2former.modeling.pixel_decoder.ops.modules import ms_deform_attn  # noqa: E402

CHANNELS = 16
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def ours(monkeypatch):
    """A context in which the official slow path raises, and that gives what computes attention
    within it."""

    @contextmanager
    def context(model):
        def slow(*inputs):
            raise AssertionError("the official grid_sample path ran")

        with monkeypatch.context() as patch:
            patch.setattr(ms_deform_attn, "ms_deform_attn_core_pytorch", slow)
            yield AttentionWatch(model).paths

    return context


@pytest.fixture
def theirs(monkeypatch):
    """A context in which our operator raises, so that the official slow path runs."""

    @contextmanager
    def context():
        def missing(*inputs):
            raise RuntimeError("no operator")

        with monkeypatch.context() as patch:
            patch.setattr(ms_deform_attn_func.MSDA, "ms_deform_attn_forward", missing)
            yield

    return context


def gradients(model):
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def compare(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_pixel_decoder(ours, theirs):
    torch.manual_seed(0)
    decoder = MSDeformAttnPixelDecoder(
        {f"p{i}": ShapeSpec(channels=CHANNELS, stride=2**i) for i in range(2, 6)},
        transformer_dropout=0.0,
        transformer_nheads=4,
        transformer_dim_feedforward=48,
        transformer_enc_layers=2,
        conv_dim=32,
        mask_dim=32,
        norm="GN",
        transformer_in_features=["p3", "p4", "p5"],
        common_stride=4,
    )
    for parameter in (
        decoder.parameters()
    ):  # the initial sampling offsets and weights do not depend on the image
        parameter.data.add_(0.05 * torch.randn_like(parameter))

    def step():
        pyramid = {
            f"p{i}": torch.randn(2, CHANNELS, 96 // 2**i, 128 // 2**i).requires_grad_()
            for i in range(2, 6)
        }
        decoder.zero_grad()
        masks, first, features = decoder.forward_features(pyramid)
        sum(each.square().mean() for each in (masks, first, *features)).backward()
        outputs = {
            "masks": masks,
            "first": first,
            **{str(i): each for i, each in enumerate(features)},
        }
        return outputs, gradients(decoder), {name: level.grad for name, level in pyramid.items()}

    torch.manual_seed(1)
    with ours(decoder) as made:
        found = step()
    assert made == {PATH}
    torch.manual_seed(1)
    with theirs():
        wanted = step()
    assert (
        found[1]["transformer.encoder.layers.0.self_attn.sampling_offsets.weight"].abs().max()
        > 1e-5
    )
    for part, reference in zip(found, wanted, strict=True):
        compare(part, reference)


def build_mask2former():
    """The official ResNet-50 configuration with fewer points and no weights to download."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    mask2former.add_maskformer2_config(cfg)
    root = Path(mask2former.__file__).resolve().parent.parent
    cfg.merge_from_file(
        root / "configs/ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"
    )
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 5
    cfg.MODEL.MASK_FORMER.TRAIN_NUM_POINTS = 200
    return build_model(cfg)


def batch():
    instances = Instances((64, 96))
    instances.gt_classes = torch.tensor([0, 3])
    instances.gt_masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    instances.gt_masks[0, :, :50] = True
    instances.gt_masks[1, 20:, 50:] = True
    image = torch.randint(
        0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return [{"image": image, "instances": instances, "height": 64, "width": 96}]


def test_whole_model(ours, theirs):
    torch.manual_seed(0)
    model = build_mask2former().train()
    for name, parameter in model.named_parameters():
        if name.endswith(
            "sampling_offsets.bias"
        ):  # off the cells' centres, where rounding decides on the side
            parameter.data.add_(0.3 * torch.rand_like(parameter))

    def step():
        torch.manual_seed(2)
        model.zero_grad()
        losses = model(batch())
        sum(losses.values()).backward()
        return {name: loss.detach() for name, loss in losses.items()}, gradients(model)

    with ours(model) as made:
        losses, found = step()
    assert made == {PATH}
    with theirs():
        reference_losses, wanted = step()
    compare(losses, reference_losses)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        # the official fallback is off by 5e-7 of the norm in each of six layers
        assert (gradient - wanted[name]).norm() <= 3e-5 * wanted[name].norm() + 1e-8, name
    model.eval()
    with torch.no_grad(), ours(model) as made:
        model(batch())
    assert made == {PATH}


def test_whole_model_as_it_is_initialised(ours, theirs, monkeypatch):
    """At the start sampled points lie on centres of cells, where bilinear interpolation has a kink:
    its derivative to the place differs on both sides, and rounding decides on the side. So the
    gradients of the sampling offsets differ, and with the same points in the loss no others do."""
    torch.manual_seed(0)
    model = build_mask2former().train()
    first, sampled = [], criterion.get_uncertain_point_coords_with_randomness

    def noted(*inputs):
        first.append(sampled(*inputs))
        return first[-1]

    def repeated(*inputs):
        sampled(*inputs)  # draws as many random numbers as before
        return first.pop(0)

    def step(sample):
        torch.manual_seed(2)
        model.zero_grad()
        with monkeypatch.context() as patch:
            patch.setattr(criterion, "get_uncertain_point_coords_with_randomness", sample)
            total = sum(model(batch()).values())
        total.backward()
        return total.detach(), gradients(model)

    with ours(model):
        loss, found = step(noted)
    assert first
    with theirs():
        reference_loss, wanted = step(repeated)
    torch.testing.assert_close(loss, reference_loss, **CLOSE)
    differing = {
        name
        for name, gradient in found.items()
        if (gradient - wanted[name]).norm() > 1e-5 * wanted[name].norm() + 1e-8
    }
    assert differing
    assert all("sampling_offsets" in name for name in differing)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_layer(dtype, ours):
    torch.manual_seed(0)
    layer = ms_deform_attn.MSDeformAttn(d_model=32, n_levels=2, n_heads=4, n_points=2)
    layer.attention_weights.weight.data.normal_(std=0.1)
    shapes, starts = torch.tensor([(3, 4), (2, 2)]), torch.tensor([0, 12])
    queries, points, tokens = torch.randn(2, 5, 32), torch.rand(2, 5, 2, 2), torch.randn(2, 16, 32)
    with torch.no_grad():
        wanted = layer(queries, points, tokens, shapes, starts)
    layer.to(dtype)
    with ours(layer) as made:
        found = layer(queries.to(dtype), points.to(dtype), tokens.to(dtype), shapes, starts)
        found.float().sum().backward()
    assert made == {PATH}
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, rtol=3e-2, atol=3e-2)
    assert layer.sampling_offsets.weight.grad.abs().sum() > 0


def test_a_failure_is_remembered_by_its_model(monkeypatch):
    """What the record shows if the slow path runs after all, and only that of the model in which
    it ran."""

    def broken(*inputs):
        raise RuntimeError("no kernel")

    def attend(layer):
        tokens = torch.randn(1, 4, 32)
        places = (torch.tensor([(2, 2)]), torch.tensor([0]))
        layer(tokens, torch.rand(1, 4, 1, 2), tokens, *places)

    first, second = (
        ms_deform_attn.MSDeformAttn(d_model=32, n_levels=1, n_heads=4, n_points=2) for _ in range(2)
    )
    seen, other = AttentionWatch(first).paths, AttentionWatch(second).paths
    attend(first)
    assert (seen, other) == ({PATH}, set())
    with monkeypatch.context() as patch:
        for name in ("deformable_attention", "COMPILED"):
            patch.setattr(official_operator, name, broken)
        attend(first)
    attend(second)
    assert (seen, other) == ({PATH, FAILED}, {PATH})
