"""Rule 20 and the FLOPs of attention, by hand."""

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost import flops
from encoder_ablations.engine.cost.measure import PARTS, measure_cost
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import EomtSpec, Mask2FormerSpec
from encoder_ablations.utils.arithmetic import (
    deterministic_kernels,
    float32_products,
    tensor_float32,
)

SMALL_FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=64
)


def make(segmenter, encoder="vit_tiny_patch16_224", **options):
    if options.get("neck") != "none":
        options["channels"] = 32
    built = build_encoder(EncoderSpec(name=encoder, weights="random", **options))
    return build_segmenter(segmenter, built, 3, 0)


def test_vit_by_hand():
    """ViT-Ti/16 at 64×96: 24 patches and one class token, 12 blocks of width 192."""
    cost = measure_cost(make(LinearSpec(name="linear")), (64, 96), (1,), seconds=0.0)
    patches, tokens, width = 24, 25, 192
    embed = patches * width * 3 * 16 * 16
    block = (
        tokens * (width * 3 * width + width * width + 2 * width * 4 * width)
        + 2 * tokens * tokens * width
    )
    norms = cost.flops_by_part["encoder.body"] - embed - 12 * block
    # fvcore also counts LayerNorm (5 per element): two a block and one for each of four taps
    assert norms == 5 * tokens * width * (2 * 12 + 4)
    assert cost.tokens == patches
    assert cost.flops == sum(cost.flops_by_part.values())


def test_models_of_one_name_are_counted_once(monkeypatch):
    counted, count = [], flops.count_flops
    monkeypatch.setattr(flops, "_counted", {})
    monkeypatch.setattr(flops, "count_flops", lambda *of: counted.append(of) or count(*of))
    segmenter = make(LinearSpec(name="linear"), "test_vit", neck="none", taps=[1.0])
    sides, names = (64, 64, 96, 64, 64), ("a", "a", "a", "b", None)
    costs = [
        measure_cost(segmenter, (64, side), (1,), 0.0, name)
        for side, name in zip(sides, names, strict=True)
    ]
    assert [tuple(images.shape) for _, images, _ in counted] == [
        (1, 3, 64, side) for side in (64, 96, 64, 64)
    ]
    same = [(cost.flops, cost.flops_by_part) for cost in costs]
    assert same[0] == same[1] == same[3] == same[4]
    assert same[0] != same[2]


def test_adapters_are_counted():
    """LoRA of rank 2 beside qkv and proj: 12 blocks of width 192, 25 tokens."""
    head, lora = LinearSpec(name="linear"), {"lora": {"rank": 2}}
    plain, adapted = make(head, freeze="body"), make(head, adapt=lora)
    costs = [measure_cost(each, (64, 96), (1,), seconds=0.0) for each in (plain, adapted)]
    parameters = 12 * 2 * (192 + 3 * 192 + 192 + 192)
    flops = [cost.flops_by_part["encoder.body"] for cost in costs]
    assert flops[1] - flops[0] == 25 * parameters
    for kind in ("total", "trainable"):
        assert costs[1].parameters[kind] - costs[0].parameters[kind] == parameters


DECODERS = {
    "unet": {"encoder": "test_resnet"},
    "upernet": {"encoder": "test_resnet"},
    "deeplabv3plus": {"encoder": "test_resnet"},
    "segformer": {"encoder": "test_resnet"},
    "fpn": {"encoder": "test_resnet"},
    "unet_plain": {"encoder": "test_resnet"},
    "conv_transpose": {"encoder": "vit_tiny_patch16_224", "neck": "none", "taps": (0.1,)},
}


@pytest.mark.parametrize("name", DECODERS)
def test_products_of_a_decoder(name):
    """All its convolutions, counted by what they multiply; norms and resizing add a little."""
    segmenter = make(load_segmenter(name), **DECODERS[name])
    products = []

    def note(module, inputs, output):
        applied = output
        if isinstance(module, torch.nn.ConvTranspose2d):
            applied = inputs[0]
        products.append(module.weight[0].numel() * applied.numel())

    for module in segmenter.head.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        segmenter.eval().predict(torch.zeros(1, 3, 64, 96))
    expected = sum(products)
    cost = measure_cost(segmenter, (64, 96), (1,), seconds=0.0)
    assert expected < cost.flops_by_part["head"] < 1.1 * expected
    assert cost.parameters_by_part["head"] == sum(p.numel() for p in segmenter.head.parameters())


@pytest.mark.parametrize("encoder", ["test_vit", "vit_small_patch14_dinov2"])
def test_parts_of_a_head_that_runs_the_blocks(encoder):
    """Queries within the body are work of the body; what makes masks of them is the head's. There
    is no neck. DINOv2's positions are put in from outside."""
    spec = EomtSpec(name="eomt", queries=9, blocks=2)
    segmenter = make(spec, encoder, neck="none")
    cost = measure_cost(segmenter, (70, 98), (1,), seconds=0.0)
    body, blocks = segmenter.encoder.body, segmenter.encoder.body.as_blocks()
    step, width = body.patch, blocks.width
    patches = (-(-70 // step)) * (-(-98 // step))
    expected = patches * width * 3 * step * step
    for index in range(blocks.depth):
        tokens = patches + body.prefix_tokens + 9 * (index >= blocks.depth - 2)
        inner = body.model.blocks[0].mlp.fc1.out_features
        expected += tokens * width * (4 * width + 2 * inner) + 2 * tokens * tokens * width
    assert cost.flops_by_part["encoder.body"] == pytest.approx(expected, rel=0.03)
    assert cost.flops_by_part["encoder.neck"] == 0
    assert cost.flops == sum(cost.flops_by_part.values())
    doublings = len(segmenter.head.mask_predictor.upscale)
    products = 9 * width * (3 * width + 4) + 9 * width * patches * 4**doublings
    for number in range(1, doublings + 1):
        # a transposed convolution makes each place from one; then 3×3 in each channel, and a
        # norm, which fvcore counts as 5
        products += patches * 4**number * (width * width + 9 * width + 5 * width)
    assert cost.flops_by_part["head"] == pytest.approx(products, rel=1e-3)
    latency = cost.latency_ms[0].median_by_part
    assert latency["encoder.neck"] == 0
    assert latency["encoder.body"] > 0
    assert latency["head"] > 0
    assert cost.parameters_by_part["encoder.neck"] == 0
    total = sum(each.numel() for each in segmenter.parameters())
    assert cost.parameters["total"] == sum(cost.parameters_by_part.values()) == total


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
def test_products_of_a_hierarchical_encoder(encoder):
    """All its convolutions and linear layers, counted by their outputs."""
    segmenter = make(LinearSpec(name="linear"), encoder)
    products = []

    def note(module, _inputs, output):
        products.append(module.weight[0].numel() * output.numel())

    body = segmenter.encoder.body
    for module in body.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(note)
    with torch.inference_mode():
        body.eval()(torch.zeros(1, 3, 64, 96))
    expected = sum(products)
    cost = measure_cost(segmenter, (64, 96), (1,), seconds=0.0)
    assert cost.tokens is None
    # fvcore also counts norms
    assert expected < cost.flops_by_part["encoder.body"] < 1.3 * expected


@pytest.mark.parametrize("encoder", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_encoders_that_resize_positions_by_their_own_rule(encoder):
    """Another size than the native one: their position embedding is put in from outside, which
    tracing must survive."""
    segmenter = make(LinearSpec(name="linear"), encoder)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    cost = measure_cost(segmenter, (70, 98), (1,), seconds=0.0)
    body = segmenter.encoder.body
    patches, width = body.tokens(96, 128), 384  # the segmenter pads to multiples of 32
    tokens = patches + body.prefix_tokens
    embed = patches * width * 3 * 14 * 14
    block = (
        tokens * (width * 3 * width + width * width + 2 * width * 4 * width)
        + 2 * tokens * tokens * width
    )
    assert cost.flops_by_part["encoder.body"] == pytest.approx(embed + 12 * block, rel=0.01)
    assert cost.flops == sum(cost.flops_by_part.values())
    assert all((before[name] == value).all() for name, value in segmenter.state_dict().items())


def test_deformable_attention_is_counted():
    few, many = (
        measure_cost(
            make(
                Mask2FormerSpec(
                    name="mask2former",
                    queries=5,
                    hidden=32,
                    heads=4,
                    encoder_layers=n,
                    decoder_layers=1,
                )
            ),
            (64, 64),
            (1,),
            seconds=0.0,
        )
        for n in (1, 2)
    )
    positions = 8 * 8 + 4 * 4 + 2 * 2
    layer = many.flops_by_part["head"] - few.flops_by_part["head"]
    hidden, samples, feedforward = 32, 4 * 3 * 4, 1024
    linear = positions * hidden * (hidden + 2 * samples + samples + hidden + 2 * feedforward)
    sampling = positions * samples * (hidden // 4) * 5
    norms = 2 * 5 * positions * hidden
    assert layer == pytest.approx(linear + sampling + norms, rel=1e-3)


def test_mask2formers_decoder_by_hand():
    """What one more masked-attention layer costs, and that no part of the forward pass is left out
    of the total."""
    few, many = (
        measure_cost(
            make(
                Mask2FormerSpec(
                    name="mask2former",
                    queries=5,
                    hidden=32,
                    heads=4,
                    encoder_layers=1,
                    decoder_layers=n,
                )
            ),
            (64, 64),
            (1,),
            seconds=0.0,
        )
        for n in (1, 4)  # the layers take turns at the three levels
    )
    queries, hidden, feedforward, pixels = 5, 32, 2048, 16 * 16
    per_layer = 0
    for keys in (2 * 2, 4 * 4, 8 * 8):
        cross = (
            2 * queries * hidden * hidden + 2 * keys * hidden * hidden + 2 * queries * keys * hidden
        )
        own = 4 * queries * hidden * hidden + 2 * queries * queries * hidden
        mask = 3 * queries * hidden * hidden + queries * hidden * pixels
        norms = 4 * 5 * queries * hidden
        per_layer += cross + own + 2 * queries * hidden * feedforward + mask + norms
    assert many.flops_by_part["head"] - few.flops_by_part["head"] == pytest.approx(
        per_layer, rel=0.02
    )
    assert many.flops == sum(many.flops_by_part.values())


def test_parts_and_parameters():
    segmenter = make(LinearSpec(name="linear"), freeze="body")
    cost = measure_cost(segmenter, (64, 64), (1, 2), seconds=0.2)
    assert set(cost.parameters_by_part) == set(cost.flops_by_part) == set(PARTS)
    assert sum(cost.parameters_by_part.values()) == cost.parameters["total"]
    assert (
        cost.parameters["trainable"]
        == cost.parameters["total"] - cost.parameters_by_part["encoder.body"]
    )
    assert [latency.batch_size for latency in cost.latency_ms] == [1, 2]
    for latency in cost.latency_ms:
        assert 0 < latency.p10 <= latency.median <= latency.p90
        assert sum(latency.median_by_part.values()) < 1.3 * latency.median
        assert set(latency.median_by_part) == set(PARTS)


def test_what_nothing_depends_on_is_not_counted_as_trainable():
    """Of ViT-Ti: the last three of 12 blocks, and the final norm."""
    segmenter = make(LinearSpec(name="linear"), taps=(0.25, 0.5, 0.6, 0.75), final_norm=False)
    cost = measure_cost(segmenter, (64, 64), (1,), seconds=0.0)
    width = 192
    block = 12 * width**2 + (3 + 1 + 4 + 1 + 4) * width
    assert cost.parameters["total"] - cost.parameters["trainable"] == 3 * block + 2 * width


def test_convolutional_encoders_have_no_tokens():
    assert (
        measure_cost(
            make(LinearSpec(name="linear"), "darknet_tiny"), (64, 64), (1,), seconds=0.0
        ).tokens
        is None
    )


@pytest.mark.parametrize(
    "head", [LinearSpec(name="linear"), SMALL_FORMER], ids=["linear", "mask2former"]
)
def test_deterministic_runs_on_gpus_can_be_measured(head, interpolated_as_on_gpus):
    """On GPUs the deterministic ``F.interpolate`` cannot be traced, and its latency is not what
    anybody deploys."""
    expected = measure_cost(make(head), (64, 64), (1,), seconds=0.0)
    interpolated_as_on_gpus.clear()
    with deterministic_kernels(True):
        cost = measure_cost(make(head), (64, 64), (1,), seconds=0.0)
        assert torch.are_deterministic_algorithms_enabled()
    assert (cost.flops, cost.flops_by_part) == (expected.flops, expected.flops_by_part)
    assert interpolated_as_on_gpus
    assert not any(interpolated_as_on_gpus)


def test_measuring_puts_the_settings_back_when_it_fails():
    segmenter = make(LinearSpec(name="linear"))
    segmenter.head.forward = None
    with deterministic_kernels(True), tensor_float32(True):
        with pytest.raises(TypeError):
            measure_cost(segmenter, (64, 64), (1,), seconds=0.0)
        assert torch.are_deterministic_algorithms_enabled()
        assert set(float32_products("cuda").values()) == {"tf32"}


def test_latency_is_in_true_float32_whatever_training_is_in():
    segmenter, seen = make(LinearSpec(name="linear")), []
    segmenter.encoder.body.register_forward_hook(lambda *_: seen.append(float32_products("cuda")))
    with tensor_float32(True):
        cost = measure_cost(segmenter, (64, 64), (1,), seconds=0.0)
    assert cost.precision == "fp32"
    assert seen
    assert all(set(products.values()) == {"ieee"} for products in seen)
