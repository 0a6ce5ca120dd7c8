"""The head against the modules of transformers that it is composed of, with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from encoder_ablations.encoders.base import Level
from encoder_ablations.segmenters.heads.mask2former import Mask2FormerHead
from encoder_ablations.segmenters.heads.mask2former_layers import plain_attention
from encoder_ablations.segmenters.spec import Mask2FormerSpec

CLASSES = 5
SPEC = Mask2FormerSpec(
    name="mask2former",
    queries=6,
    hidden=64,
    heads=4,
    encoder_layers=2,
    encoder_feedforward=96,
    decoder_layers=4,
    decoder_feedforward=80,
    points=100,
)
LEVELS = [Level(f"p{i}", 32, 2**i) for i in range(2, 6)]


class Stock(nn.Module):
    """transformers' modules as ``Mask2FormerForUniversalSegmentation`` uses them."""

    def __init__(self, head):
        super().__init__()
        config = Mask2FormerConfig(
            feature_size=64,
            mask_feature_size=64,
            hidden_dim=64,
            num_attention_heads=4,
            encoder_layers=2,
            encoder_feedforward_dim=96,
            decoder_layers=5,
            dim_feedforward=80,
            num_queries=6,
        )
        self.pixel_decoder = Mask2FormerPixelDecoder(config, feature_channels=[32] * 4)
        self.transformer_module = Mask2FormerTransformerModule(in_features=64, config=config)
        self.class_predictor = nn.Linear(64, CLASSES + 1)
        self.load_state_dict(head.state_dict())

    def forward(self, features):
        pixels = self.pixel_decoder(features)
        output = self.transformer_module(pixels.multi_scale_features, pixels.mask_features)
        return [
            self.class_predictor(h.transpose(0, 1)) for h in output.intermediate_hidden_states
        ], list(output.masks_queries_logits)


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = Mask2FormerHead(SPEC, CLASSES, LEVELS)
    for layer in (
        head.pixel_decoder.encoder.layers
    ):  # so that every query looks elsewhere, with weights of its own
        nn.init.normal_(layer.self_attn.sampling_offsets.weight, std=0.1)
        nn.init.normal_(layer.self_attn.attention_weights.weight, std=0.1)
    return head


def pyramid(size=(96, 128)):
    generator = torch.Generator().manual_seed(0)
    sizes = {
        level.name: (-(-size[0] // level.stride), -(-size[1] // level.stride)) for level in LEVELS
    }
    return {
        name: torch.randn(2, 32, *each, generator=generator).requires_grad_()
        for name, each in sizes.items()
    }


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_transformers(head, size, training):
    stock, levels = Stock(head).train(training), pyramid(size)
    hidden_states, masks = head.train(training)(levels)
    ours = [*(head.class_predictor(each.transpose(0, 1)) for each in hidden_states), *masks]
    theirs = [tensor for part in stock(list(levels.values())) for tensor in part]
    assert len(ours) == len(theirs) == 2 * (SPEC.decoder_layers + 1)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    inputs = [*levels.values()]
    probes = [torch.randn_like(tensor) for tensor in ours]
    found, expected = (
        torch.autograd.grad(
            sum((t * p).sum() for t, p in zip(outputs, probes, strict=True)), inputs
        )
        for outputs in (ours, theirs)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3 * other.abs().max().item(), rtol=0)


def test_prediction_is_official_semantic_inference(head):
    """Mask logits are upsampled, then mixed by the class probabilities without "no object"; no
    detour by 384×384."""
    with torch.no_grad():
        levels = pyramid()
        classes, masks = Stock(head)(list(levels.values()))
        logits = F.interpolate(masks[-1], size=(96, 128), mode="bilinear", align_corners=False)
        expected = torch.einsum(
            "bqk,bqhw->bkhw", classes[-1].softmax(-1)[..., :-1], logits.sigmoid()
        )
        scores = head.predict(levels, (96, 128)).at((96, 128))
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_loss_is_that_of_transformers_with_the_same_seed(head, monkeypatch):
    monkeypatch.setattr(head.set_loss, "official_order", True)
    masks = torch.randint(0, CLASSES, (2, 6, 8), generator=torch.Generator().manual_seed(0))
    masks = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    levels = pyramid()
    torch.manual_seed(1)
    loss = sum(head.loss(levels, masks, head.totals(masks)).values())
    with torch.no_grad():
        classes, logits = Stock(head)(list(levels.values()))
    present = [mask.unique() for mask in masks]
    segments = [
        (mask == own[:, None, None]).float() for mask, own in zip(masks, present, strict=True)
    ]
    auxiliary = [
        {"masks_queries_logits": m, "class_queries_logits": c}
        for m, c in zip(logits[:-1], classes[:-1], strict=True)
    ]
    criterion = Mask2FormerLoss(
        Mask2FormerConfig(train_num_points=SPEC.points, num_labels=CLASSES), {}
    )
    torch.manual_seed(1)
    terms = criterion(logits[-1], classes[-1], segments, present, auxiliary)
    expected = sum(value * (2 if "cross_entropy" in name else 5) for name, value in terms.items())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


def types_under_autocast(head, dtype):
    """What the parts compute in, by name, and the loss."""
    seen = {}

    def note(name, key=None):
        def hook(module, args, kwargs, output):
            seen[name] = (output[0] if isinstance(output, tuple) else output).dtype
            if key is not None:
                seen[key] = kwargs[key].dtype

        return hook

    layer = head.pixel_decoder.encoder.layers[-1]
    layer.self_attn.register_forward_hook(
        note("attention", key="reference_points"), with_kwargs=True
    )
    layer.self_attn.sampling_offsets.register_forward_hook(note("offsets"), with_kwargs=True)
    layer.fc1.register_forward_hook(note("inner"), with_kwargs=True)
    layer.final_layer_norm.register_forward_hook(note("stream"), with_kwargs=True)
    head.transformer_module.decoder.layers[-1].fc1.register_forward_hook(
        note("decoder"), with_kwargs=True
    )
    masks = torch.randint(0, CLASSES, (2, 6, 8), generator=torch.Generator().manual_seed(0))
    masks = masks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        losses = head.loss(pyramid(), masks, head.totals(masks))
    return seen, sum(losses.values())


def test_bfloat16_leaves_positions_and_streams_alone(head):
    seen, loss = types_under_autocast(head, torch.bfloat16)
    assert seen["inner"] == seen["attention"] == seen["decoder"] == torch.bfloat16
    assert seen["reference_points"] == seen["offsets"] == seen["stream"] == torch.float32
    assert loss.dtype == torch.float32
    _, exact = types_under_autocast(head, torch.float32)
    torch.testing.assert_close(loss, exact, rtol=1e-2, atol=0)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_float16_stays_out_of_the_pixel_decoder(head):
    seen, loss = types_under_autocast(head, torch.float16)
    decoder = seen.pop("decoder")
    assert set(seen.values()) == {torch.float32}
    assert decoder == torch.float16
    assert loss.isfinite()


@pytest.mark.parametrize("masked", [True, False])
def test_attention_in_steps_equals_the_fused_one(masked):
    """A CPU takes the first, other devices the second."""
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (
        torch.randn(2, 3, count, 8, generator=generator).requires_grad_() for count in (5, 7, 7)
    )
    seen = None
    if masked:
        seen = torch.rand(2, 1, 5, 7, generator=generator) < 0.5
        seen[..., 0] = True  # each query sees something
    found = plain_attention(queries, keys, values, seen)
    expected = F.scaled_dot_product_attention(queries, keys, values, seen)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), (queries, keys, values)),
        torch.autograd.grad(expected.square().sum(), (queries, keys, values)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
