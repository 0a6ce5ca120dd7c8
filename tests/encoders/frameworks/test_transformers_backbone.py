"""Encoders as transformers' backbones: the same weights and outputs, before and after saving,
alone and in a model."""

import pytest
import torch
from transformers import (
    AutoBackbone,
    AutoConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.frameworks.transformers_backbone import (
    EncoderBackbone,
    EncoderBackboneConfig,
    register,
)
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError

NAMES = ["vit_tiny_patch16_224", "dinov3_s16", "darknet_tiny", "test_convnext"]


@pytest.fixture(autouse=True)
def _registered():
    register()
    register()


def config_of(name="darknet_tiny", seed=0, out_features=None, **fields):
    spec = EncoderSpec(name=name, **{"weights": "random", "channels": 32, **fields})
    return EncoderBackboneConfig(encoder=spec, seed=seed, out_features=out_features)


def images(batch=2):
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def move(model):
    """Away from the initial weights and statistics, so that loading and initialising cannot be
    confused."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.1)
    return model.eval()


def tensors(model):
    return dict(model.named_parameters()) | dict(model.named_buffers())


def assert_same_tensors(first, second):
    ours, theirs = tensors(first), tensors(second)
    assert ours.keys() == theirs.keys()
    assert not [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


def upernet(backbone):
    head = {
        "hidden_size": 16,
        "auxiliary_channels": 16,
        "auxiliary_in_channels": 32,
        "num_labels": 3,
    }
    return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=backbone, **head))


def mask2former(backbone):
    sizes = {
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
    }
    sizes |= {
        "num_queries": 5,
        "num_labels": 3,
        "train_num_points": 32,
        "dim_feedforward": 32,
        "decoder_layers": 2,
    }
    sizes |= {"encoder_layers": 1, "num_attention_heads": 2}
    return Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone, **sizes))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_encoder(name):
    """transformers does not initialise it anew."""
    config = config_of(name, seed=3)
    backbone = AutoBackbone.from_config(config).eval()
    encoder = build_encoder(EncoderSpec(**config.encoder), seed=3).eval()
    assert_same_tensors(backbone.encoder, encoder)
    with torch.inference_mode():
        maps = backbone(images()).feature_maps
        expected = encoder(images())
    assert backbone.out_features == list(expected)
    assert backbone.channels == [level.shape[1] for level in maps]
    assert all(torch.equal(level, expected[key]) for level, key in zip(maps, expected, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_gives_the_same_outputs(name, tmp_path):
    backbone = move(AutoBackbone.from_config(config_of(name)))
    backbone.save_pretrained(tmp_path)
    loaded = EncoderBackbone.from_pretrained(tmp_path)
    assert not loaded.training
    assert_same_tensors(loaded, backbone)
    with torch.inference_mode():
        for ours, theirs in zip(
            loaded(images()).feature_maps, backbone(images()).feature_maps, strict=True
        ):
            assert torch.equal(ours, theirs)


def test_half_precision_keeps_the_rotary_periods(tmp_path):
    AutoBackbone.from_config(config_of("dinov3_s16")).save_pretrained(tmp_path)
    loaded = EncoderBackbone.from_pretrained(tmp_path, dtype=torch.bfloat16)
    expected = EncoderBackbone.from_pretrained(tmp_path).bfloat16()
    assert_same_tensors(loaded, expected)
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("freeze", ["body", "all_but_norms", 2, "none"])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "darknet_tiny", "test_resnet"])
def test_frozen_stays_frozen(name, freeze, tmp_path):
    config = config_of(name, freeze=freeze, final_norm=False if "vit" in name else None)
    encoder = build_encoder(EncoderSpec(**config.encoder)).train()
    AutoBackbone.from_config(config).save_pretrained(tmp_path / "alone")
    upernet(config).save_pretrained(tmp_path / "within")
    alone = EncoderBackbone.from_pretrained(tmp_path / "alone").train()
    within = UperNetForSemanticSegmentation.from_pretrained(tmp_path / "within").train()
    for loaded in (alone.encoder, within.backbone.encoder):
        assert {key for key, p in loaded.named_parameters() if p.requires_grad} == {
            key for key, p in encoder.named_parameters() if p.requires_grad
        }
        assert {key for key, module in loaded.named_modules() if module.training} == {
            key for key, module in encoder.named_modules() if module.training
        }
    assert all(parameter.requires_grad for parameter in within.decode_head.parameters())


def test_loading_needs_no_pretrained_weights(tmp_path):
    """A checkpoint is complete: the file or download that its encoder once started from is not
    needed."""
    for weights in ("pretrained", str(tmp_path / "gone.safetensors")):
        backbone = EncoderBackbone(config_of("darknet53_in1k"))
        backbone.config.encoder["weights"] = weights
        backbone.save_pretrained(tmp_path / "saved")
        assert_same_tensors(EncoderBackbone.from_pretrained(tmp_path / "saved"), backbone)
        with pytest.raises(InputError, match=r"hub|gone"):
            EncoderBackbone(EncoderBackboneConfig.from_pretrained(tmp_path / "saved"))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_checkpoint_lacks_starts_as_ever(name, tmp_path):
    """A checkpoint without neck, and with one tensor less in the body."""
    backbone = EncoderBackbone(config_of(name, seed=5))
    state = {key: value for key, value in backbone.state_dict().items() if ".neck." not in key}
    first = next(iter(state))
    state.pop(first)
    move(backbone).save_pretrained(tmp_path, state_dict=dict(state))
    loaded, report = EncoderBackbone.from_pretrained(tmp_path, output_loading_info=True)
    assert first in report["missing_keys"]
    initial = tensors(EncoderBackbone(config_of(name, seed=5)))
    for key, value in tensors(loaded).items():
        assert torch.equal(value, state.get(key, initial[key])), key


def test_stages_without_a_neck():
    spec = {"name": "test_resnet", "weights": "random", "neck": "none"}
    backbone = AutoBackbone.from_config(EncoderBackboneConfig(encoder=spec)).eval()
    assert backbone.channels == [32, 48, 192, 96]
    shapes = [tuple(level.shape) for level in backbone(images()).feature_maps]
    assert shapes == [(2, 32, 16, 24), (2, 48, 8, 12), (2, 192, 4, 6), (2, 96, 2, 3)]


def test_levels():
    backbone = AutoBackbone.from_config(config_of(out_features=["p3", "p5"]))
    assert (backbone.out_indices, backbone.channels) == ([1, 3], [32, 32])
    assert [level.shape[-2:] for level in backbone(images()).feature_maps] == [(8, 12), (2, 3)]
    backbone.out_indices = [0]
    assert [level.shape[-2:] for level in backbone(images()).feature_maps] == [(16, 24)]
    maps, levels = backbone(images(), output_hidden_states=True, return_dict=False)
    assert (len(maps), len(levels)) == (1, 4)
    with pytest.raises(ValueError, match="p6"):
        config_of(out_features=["p6"])


def test_config_round_trip(tmp_path):
    config = config_of(
        "vit_ti16", seed=7, out_features=["p2", "p4"], taps=(0.3, 0.5, 0.7, 1.0), freeze=3
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, EncoderBackboneConfig)
    assert EncoderSpec(**loaded.encoder) == EncoderSpec(**config.encoder)
    assert (loaded.seed, loaded.out_features, loaded.out_indices) == (7, ["p2", "p4"], [0, 2])


def test_bad_fields():
    with pytest.raises(InputError, match=r"unknown key 'chanels'.*channels"):
        EncoderBackboneConfig(encoder={"name": "darknet_tiny", "chanels": 32})
    with pytest.raises(InputError, match=r"adapt \(LoRA\).* not by transformers"):
        EncoderBackboneConfig(encoder={"name": "test_vit", "adapt": {"lora": {}}})
    with pytest.raises(InputError, match="'name' is missing"):
        EncoderBackbone(EncoderBackboneConfig())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [upernet, mask2former])
def test_within_a_model(make, name, tmp_path):
    """Initial weights, loss, gradients, saving and loading."""
    config = config_of(name)
    model = make(config)
    backbone = next(module for module in model.modules() if isinstance(module, EncoderBackbone))
    assert_same_tensors(backbone.encoder, build_encoder(EncoderSpec(**config.encoder)))
    labels = torch.randint(0, 3, (2, 64, 96), generator=torch.Generator().manual_seed(1))
    targets = {"labels": labels}
    if make is mask2former:
        masks = [torch.stack([image == label for label in range(3)]).float() for image in labels]
        targets = {"mask_labels": masks, "class_labels": [torch.arange(3)] * 2}
    loss = model.train()(pixel_values=images(), **targets).loss
    loss.sum().backward()
    assert loss.isfinite().all()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in backbone.parameters()
        if parameter.grad is not None
    )
    idle = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert not [key for key in idle if "mask_token" not in key]

    model.eval().save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert_same_tensors(loaded, model)
    with torch.inference_mode():
        ours, theirs = loaded(pixel_values=images()), model(pixel_values=images())
    key = "logits" if make is upernet else "masks_queries_logits"
    assert torch.equal(ours[key], theirs[key])
