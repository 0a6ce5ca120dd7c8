"""timm's vision transformers of all classes: every new row and class against timm's own blocks, at
every size, and what is trained, frozen and saved."""

import math

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import AutoBackbone

from encoder_ablations.encoders.bodies.timm_vits import options_without_head
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.frameworks.transformers_backbone import (
    EncoderBackbone,
    EncoderBackboneConfig,
    register,
)
from encoder_ablations.encoders.inspection import source_difference
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import TABLE, find_row
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.engine.recipe import OptimizerSpec
from encoder_ablations.engine.training.optimizer import build_optimizer, parameter_groups
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError
from tests.encoders.bodies.test_positions import ORIGINALS
from tests.encoders.bodies.test_relative_positions import original_beit
from tests.encoders.small_vits import SIDE, create_small, is_position, small_encoder

ROWS = [
    *("deit3_b16", "sam_b16", "pe_core_b16", "pe_spatial_b16", "tipsv2_b14", "tipsv2_l14"),
    *("eva02_b14", "aimv2_l14", "beit3_b16", "cradio_v3_b16", "siglip2_naflex_b16"),
]
OTHERS = [
    "beitv2_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "samvit_base_patch16_224",
    "naflexvit_base_patch16_parfac_gap",
]
NAMES = [*ROWS, *OTHERS]
CLASSES = [
    *("deit3_b16", "sam_b16", "pe_core_b16", "tipsv2_b14", "eva02_b14", "cradio_v3_b16"),
    *("siglip2_naflex_b16", "beitv2_base_patch16_224", "deit_tiny_distilled_patch16_224"),
]
"""One for each way in which positions and prefix tokens are handled."""
PREFIX_TOKENS = {
    **{"sam_b16": 0, "samvit_base_patch16_224": 0, "aimv2_l14": 0, "siglip2_naflex_b16": 0},
    **{"tipsv2_b14": 2, "tipsv2_l14": 2, "deit_tiny_distilled_patch16_224": 2},
    **{"cradio_v3_b16": 8, "naflexvit_base_patch16_parfac_gap": 4},
}
"""All others have one."""
WITHOUT_FINAL_NORM = {"sam_b16", "pe_spatial_b16", "cradio_v3_b16"}
SIZES = [(SIDE, SIDE), (96, 160), (75, 101), (130, 90)]
TOLERANCE = 1e-5


@pytest.fixture
def small(monkeypatch):
    return lambda name, **fields: small_encoder(monkeypatch, name, **fields)


def original_positions(body, grid):
    """The state of a body's model with positions that the originals' formulas resize."""
    state, model = body.model.state_dict(), body.model
    if body.position_rule == "timm" or grid == model.patch_embed.grid_size:
        return state
    for name, value in state.items():
        if name == "pos_embed":
            side = model.patch_embed.grid_size[0]
            prefix, patches = value[:, : -(side**2)], value[:, -(side**2) :]
            square = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
            resized = ORIGINALS[body.position_rule](square, grid).flatten(2).transpose(1, 2)
            state[name] = torch.cat([prefix, resized], 1)
        elif name.endswith("relative_position_bias_table"):
            state[name] = original_beit(value, model.patch_embed.grid_size, grid)
    return state


def source_of_size(body, name, grid):
    """timm's model with the same weights, built for a grid where its class is fixed to one."""
    row = find_row(name)
    options = options_without_head(body.model)
    if body.position_rule != "timm":
        options["img_size"] = tuple(n * body.patch for n in grid)
    if body.position_rule == "pe":
        options["ref_feat_shape"] = grid  # coordinates in patches, not rescaled
    if row.family == "AIMv2":
        options["dynamic_img_size"] = True
    source = create_small(row.model, num_classes=0, **options).eval()
    source.load_state_dict(original_positions(body, grid))
    return source


def block_outputs(source, images, taps):
    """What timm's own forward pass gives after blocks, taken by hooks."""
    seen = {}
    for index in taps:
        source.blocks[index].register_forward_hook(
            lambda _m, _i, output, index=index: seen.update({index: output})
        )
    source.forward_features(**images)
    return [seen[index] for index in taps]


def as_maps(source, outputs, grid, final_norm):
    """Outputs of blocks as B×C×rows×columns, the last tokens of each being the patches."""
    for output in outputs:
        if output.ndim == 4:  # SAM: B×rows×columns×C
            features = output.permute(0, 3, 1, 2)
            yield source.neck(features) if final_norm else features
            continue
        tokens = source.norm(output) if final_norm else output
        yield tokens[:, -math.prod(grid) :].transpose(1, 2).unflatten(2, grid)


def inputs(body, images, grid):
    """The image for the source: padded, for a NaFlex model as patches with their places."""
    height, width = (n * body.patch for n in grid)
    padded = F.pad(images, (0, width - images.shape[-1], 0, height - images.shape[-2]))
    if not hasattr(body.model, "embeds"):
        return {"x": padded}
    rows, columns, side = *grid, body.patch
    cut = padded.reshape(len(images), 3, rows, side, columns, side)
    patches = cut.permute(0, 2, 4, 3, 5, 1).reshape(len(images), rows * columns, -1)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return {
        "patches": patches,
        "patch_coord": places.expand(len(images), -1, -1),
        "patch_valid": torch.ones(patches.shape[:2], dtype=torch.bool),
    }


@pytest.mark.parametrize("final_norm", [None, False])
@pytest.mark.parametrize("name", NAMES)
def test_taps_are_timms_blocks_at_every_size(name, final_norm, small):
    body = small(name, final_norm=final_norm).body
    assert body.final_norm == (final_norm is None and name not in WITHOUT_FINAL_NORM)
    assert body.prefix_tokens == PREFIX_TOKENS.get(name, 1)
    sizes = SIZES if final_norm is None else SIZES[-1:]
    for size in sizes:
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        grid = tuple(-(-n // body.patch) for n in size)
        with torch.inference_mode():
            found = body(images)
            source = source_of_size(body, name, grid)
            outputs = block_outputs(source, inputs(body, images, grid), body.taps)
            expected = list(as_maps(source, outputs, grid, body.final_norm))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.std() > 0.1
            assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max().clamp(min=1), size


@pytest.mark.parametrize("name", CLASSES)
def test_positions_matter_and_learn_at_another_size(name, small):
    encoder = small(name)
    images = torch.randn(1, 3, 96, 160)
    with torch.inference_mode():  # copies for another grid made here must serve training below
        before = encoder.body(images)[-1]
    sum(level.square().mean() for level in encoder(images).values()).backward()
    positions = {key: value for key, value in encoder.body.named_parameters() if is_position(key)}
    assert positions
    assert all(value.grad.abs().max() > 0 for value in positions.values())
    with torch.no_grad():
        for value in positions.values():
            value.mul_(2)
        assert (encoder.body(images)[-1] - before).abs().max() > 1e-3


@pytest.mark.parametrize("fields", [{}, {"taps": (0.25, 0.5), "final_norm": False, "neck": "none"}])
@pytest.mark.parametrize("name", NAMES)
def test_exactly_what_a_map_reads_is_trainable(name, fields, small):
    encoder = small(name, **fields)
    learning = {key for key, value in encoder.named_parameters() if value.requires_grad}
    encoder.requires_grad_(True)
    levels = encoder(torch.randn(1, 3, 75, 101)).values()
    sum(level.square().mean() for level in levels).backward()
    assert learning == {key for key, value in encoder.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("head", ["linear", "mask2former"])
@pytest.mark.parametrize("name", CLASSES)
def test_two_steps_of_training(name, head, small):
    small_head = {"name": "linear"}
    if head == "mask2former":
        small_head = {
            **{"name": "mask2former", "queries": 4, "encoder_layers": 1, "decoder_layers": 1},
            **{"points": 32, "hidden": 32},
        }
    segmenter = build_segmenter(load_segmenter(small_head), small(name, freeze=1), 3, 0)
    before = {key: value.clone() for key, value in segmenter.named_parameters()}
    optimizer = build_optimizer(segmenter.train(), OptimizerSpec(lr=0.01))
    images = torch.randint(0, 256, (2, 3, 75, 101)).float()
    masks = torch.randint(0, 3, (2, 75, 101))
    for _ in range(2):
        loss = sum(segmenter.loss(images, masks).values())
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    body = segmenter.encoder.body
    for key, value in body.named_parameters():
        fixed = body.depth_of(key) <= 1 or not body.reads(key)
        assert torch.equal(value, before[f"encoder.body.{key}"]) == fixed, key


@pytest.mark.parametrize("name", CLASSES)
def test_layer_decay_and_weight_decay(name, small):
    segmenter = build_segmenter(load_segmenter({"name": "linear"}), small(name), 3, 0)
    spec = OptimizerSpec(lr=1.0, encoder_lr_multiplier=1.0, layer_decay=0.5)
    rates, decays = {}, {}
    for group in parameter_groups(segmenter, spec):
        for key in group["names"]:
            rates[key] = group["lr"]
            decays[key] = group["weight_decay"]
    start = "encoder.body.reader.model."
    for key, rate in rates.items():
        if key.startswith(f"{start}blocks."):
            assert rate == 0.5 ** (4 - int(key.removeprefix(start).split(".")[1]))
        elif key.startswith((f"{start}norm.", f"{start}neck.")):
            assert rate == 1
        elif key.startswith(start):
            assert rate == 0.5**5
        if key.startswith(start) and (is_position(key) or "token" in key):
            assert decays[key] == 0


@pytest.mark.parametrize("name", CLASSES)
def test_as_a_backbone_of_transformers(name, small, tmp_path):
    register()
    small(name)  # timm builds small models from here on
    spec = EncoderSpec(name=name, weights="random", channels=32, freeze=1)
    backbone = AutoBackbone.from_config(EncoderBackboneConfig(encoder=spec)).eval()
    images = torch.randn(1, 3, 75, 101)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.1)
        expected = backbone(images).feature_maps
        backbone.save_pretrained(tmp_path)
        loaded = EncoderBackbone.from_pretrained(tmp_path).eval()
        found = loaded(images).feature_maps
    assert [each.shape[1] for each in found] == [32] * 4
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert {key for key, value in loaded.named_parameters() if value.requires_grad} == {
        key for key, value in backbone.named_parameters() if value.requires_grad
    }


@pytest.mark.detectron2
@pytest.mark.parametrize("name", CLASSES)
def test_as_a_backbone_of_detectron2(name, small):
    config = pytest.importorskip("detectron2.config")
    from detectron2.modeling import build_backbone

    from encoder_ablations.encoders.frameworks import detectron2

    ours = small(name)  # timm builds small models from here on
    cfg = config.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    fields = {"name": name, "weights": "random", "channels": 32}
    detectron2.apply_encoder(cfg, fields, keep=["SEED", "3"])
    backbone = build_backbone(cfg).eval()
    backbone.encoder.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 75, 101)
    with torch.no_grad():
        found, expected = backbone(images), ours(images)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", CLASSES)
def test_flops_are_those_of_a_model_of_that_size(name, small):
    """They are counted in a trace, where positions take another path."""
    body = small(name).body
    source = source_of_size(body, name, (5, 7))
    native = ViTBody(source, body.taps, True, body.normalization)
    size = (5 * body.patch, 7 * body.patch)
    flops = [
        FlopCountAnalysis(each, torch.randn(1, 3, *size)).unsupported_ops_warnings(False)
        for each in (body, native)
    ]
    own, expected = (each.uncalled_modules_warnings(False).by_operator() for each in flops)
    assert own["linear"] == expected["linear"] > 0
    assert own["layer_norm"] == expected["layer_norm"]


@pytest.mark.parametrize("name", ["tipsv2_b14", "eva02_b14", "aimv2_l14"])
def test_a_file_of_patch_14_is_read_as_patch_16(name, small, tmp_path):
    source = small(name).body.model
    save_file(as_on_the_hub(name, source.state_dict()), tmp_path / "file.safetensors")
    target = small(name, grid="resampled_patch").body.model
    report = load_weights(target, tmp_path / "file.safetensors")
    assert ("patch_embed.proj.weight", (64, 3, 14, 14), (64, 3, 16, 16)) in report.resampled


@pytest.mark.parametrize("name", NAMES)
def test_the_check_of_ablate_taps(name, small):
    encoder = small(name)
    assert source_difference(encoder.body, find_row(name)) <= 2e-5


POOLED = {"eva02_b14", "beit3_b16", "beitv2_base_patch16_224", "naflexvit_base_patch16_parfac_gap"}
"""Files of timm whose last norm stands behind the pooling."""


def as_on_the_hub(name, state):
    """The names of timm's own file, with a classifier."""
    names = {key: key for key in state}
    if name in POOLED:
        names = {
            key: key.replace("norm.", "fc_norm.") if key.startswith("norm.") else key
            for key in state
        }
    renamed = {names[key]: value.contiguous() for key, value in state.items()}
    return renamed | {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_timms_layout_is_loaded_whole(name, small, tmp_path):
    source = small(name).body.model
    save_file(as_on_the_hub(name, source.state_dict()), tmp_path / "file.safetensors")
    fields = {"weights": str(tmp_path / "file.safetensors"), "channels": 32}
    loaded = build_encoder(EncoderSpec(name=name, **fields)).body.model
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in source.state_dict().items())


@pytest.mark.parametrize("name", CLASSES)
def test_a_file_of_another_grid_is_resized_and_reported(name, small, tmp_path):
    target = small(name).body.model
    own = find_row(name).model
    size = {"pos_embed_grid_size": (9, 9)}
    if not own.startswith("naflexvit"):
        size = {"img_size": 9 * target.patch_embed.patch_size[0]}
    other = create_small(own, num_classes=0, **options_without_head(target) | size)
    state = other.state_dict()
    save_file(
        {key: value.contiguous() for key, value in state.items()}, tmp_path / "file.safetensors"
    )
    report = load_weights(target, tmp_path / "file.safetensors")
    resized = {key for key, *_ in report.resampled}
    assert resized
    assert all(is_position(key) for key in resized)
    assert {key for key in state if target.state_dict()[key].shape != state[key].shape} == resized


def test_weights_of_another_model_are_refused(small, tmp_path):
    for name in ("sam_b16", "beitv2_base_patch16_224", "cradio_v3_b16"):
        target = small(name).body.model
        state = dict(list(target.state_dict().items())[:-3])
        save_file(
            {key: value.contiguous() for key, value in state.items()}, tmp_path / "f.safetensors"
        )
        with pytest.raises(InputError, match=r"f\.safetensors does not fit"):
            load_weights(target, tmp_path / "f.safetensors")


def test_the_original_file_of_sam_is_read(small, tmp_path):
    target = small("sam_b16").body.model
    state = {
        f"image_encoder.{key.replace('mlp.fc', 'mlp.lin')}": value.contiguous()
        for key, value in target.state_dict().items()
    }
    state |= {"prompt_encoder.x": torch.zeros(1), "mask_decoder.x": torch.zeros(1)}
    save_file(state, tmp_path / "sam.safetensors")
    report = load_weights(target, tmp_path / "sam.safetensors")
    assert set(report.dropped) == {"prompt_encoder.x", "mask_decoder.x"}


@pytest.mark.parametrize("name", sorted(WITHOUT_FINAL_NORM))
def test_a_final_norm_that_is_not_there_cannot_be_asked_for(name, small):
    with pytest.raises(InputError, match="no final norm"):
        small(name, final_norm=True)


def test_rotary_positions_of_pe_count_on(small):
    """PE's authors do not rescale coordinates to the native grid, as timm does by default."""
    body = small("pe_core_b16").body
    body(torch.randn(1, 3, SIDE, 160))
    (larger,) = body.readers.values()
    corner = larger.model.rope.get_embed().reshape(7, 10, -1)[:, :7]
    assert torch.allclose(corner, body.model.rope.get_embed().reshape(7, 7, -1), atol=1e-6)


def test_a_model_with_options_for_each_block():
    with torch.device("meta"):
        body = build_encoder(EncoderSpec(name="vit_base_patch16_sapiens2", weights="random")).body
    assert body.depth == len(body.model.blocks) > 1


def test_the_rows_are_in_the_table():
    assert set(ROWS) <= set(TABLE)
