"""The encoders in Detectron2: its own heads, and the official Mask2Former as it is in its
repository."""

from pathlib import Path

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.ops.official_operator import provide_operator
from encoder_ablations.utils.errors import InputError

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.config import get_cfg  # noqa: E402
from detectron2.data import MetadataCatalog  # noqa: E402
from detectron2.modeling import build_backbone, build_model  # noqa: E402
from detectron2.structures import Instances  # noqa: E402

from encoder_ablations.encoders.frameworks.detectron2 import (  # noqa: E402
    add_encoder_config,
    apply_encoder,
    spec_from_config,
)

VIT = {"name": "test_vit", "weights": "random", "channels": 32}
DARKNET = {"name": "darknet_tiny", "weights": "random", "channels": 32}
CONVNEXT = {"name": "test_convnext", "weights": "random", "channels": 32}
STAGES = {"name": "test_resnet", "weights": "random", "neck": "none"}
ENCODERS = [VIT, DARKNET, CONVNEXT, STAGES]
CLIP = {"name": "clip_b32", "weights": "random", "channels": 32}
LEVELS = ["p2", "p3", "p4", "p5"]
NODE = "MODEL.ENCODER_ABLATIONS"
R50 = "configs/ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"
SMALL = [
    "MODEL.DEVICE",
    "cpu",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    "3",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM",
    "32",
]
SMALL_MASK2FORMER = [
    *SMALL,
    *("MODEL.SEM_SEG_HEAD.MASK_DIM", "32", "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1"),
    *("MODEL.MASK_FORMER.HIDDEN_DIM", "32", "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "64"),
    *("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "5", "MODEL.MASK_FORMER.DEC_LAYERS", "4"),
    *("MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64", "DATASETS.TRAIN", "('encoder_test',)"),
]


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    add_encoder_config(cfg)
    return cfg


@pytest.fixture
def mask2former_cfg():
    """The official R50 configuration with small sizes, as its ``train_net.py`` reads it."""
    provide_operator()  # without which the official repository cannot be imported
    mask2former = pytest.importorskip(
        "mask2former", reason="the official Mask2Former is not on PYTHONPATH"
    )
    from detectron2.projects.deeplab import add_deeplab_config

    cfg = get_cfg()
    add_deeplab_config(cfg)
    mask2former.add_maskformer2_config(cfg)
    add_encoder_config(cfg)
    cfg.merge_from_file(str(Path(mask2former.__file__).parent.parent / R50))
    MetadataCatalog.get("encoder_test").set(stuff_classes=["a", "b", "c"], ignore_label=255)
    return cfg


def batch():
    """Two images of different sizes, RGB 0..255, with what both kinds of heads are trained on."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for height, width in [(64, 96), (50, 70)]:
        labels = torch.randint(0, 3, (height // 10 + 1, width // 10 + 1), generator=generator)
        labels = labels.repeat_interleave(10, 0).repeat_interleave(10, 1)[:height, :width]
        instances = Instances((height, width))
        instances.gt_classes = labels.unique()
        instances.gt_masks = torch.stack([labels == value for value in labels.unique()])
        image = torch.randint(0, 256, (3, height, width), generator=generator).float()
        samples.append(
            {
                "image": image,
                "sem_seg": labels,
                "instances": instances,
                "height": height,
                "width": width,
            }
        )
    return samples


def parts_with_gradient(model):
    losses = model.train()(batch())
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    named = [
        (name, p)
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    ]
    return {
        part
        for part in ("encoder.body", "encoder.neck", "sem_seg_head")
        for name, _ in named
        if part in name
    }


def parts_that_learn(encoder):
    parts = {"encoder.body", "encoder.neck", "sem_seg_head"}
    if encoder.get("neck") == "none":
        parts.remove("encoder.neck")
    return parts


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["name"])
def test_shapes_and_parity_with_our_encoder(cfg, encoder):
    apply_encoder(cfg, encoder, keep=["SEED", "3"])
    backbone = build_backbone(cfg).eval()
    ours = build_encoder(EncoderSpec(**encoder), seed=3).eval()
    assert backbone.size_divisibility == 32
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features, expected = backbone(images), ours(images)
    assert list(features) == list(backbone.output_shape()) == LEVELS
    for name, shape in backbone.output_shape().items():
        assert features[name].shape == (2, shape.channels, 64 // shape.stride, 96 // shape.stride)
        assert torch.equal(features[name], expected[name])


def test_model_normalises_as_the_encoder_expects(cfg):
    """Rule 4: what reaches the encoder is ``(rgb / 255 - mean) / std`` with the encoder's own
    numbers."""
    apply_encoder(cfg, CLIP, keep=[*SMALL, "MODEL.META_ARCHITECTURE", "SemanticSegmentor"])
    model = build_model(cfg).eval()
    seen = []
    model.backbone.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    sample = batch()[0]
    with torch.no_grad():
        model([sample])
    normalization = model.backbone.encoder.normalization
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std)
    )
    assert normalization.mean == (0.48145466, 0.4578275, 0.40821073)
    torch.testing.assert_close(seen[0][0], (sample["image"] / 255 - mean) / std, atol=1e-5, rtol=0)
    assert cfg.INPUT.FORMAT == "RGB"


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["name"])
def test_head_of_detectron2_learns(cfg, encoder):
    apply_encoder(cfg, encoder, keep=[*SMALL, "MODEL.META_ARCHITECTURE", "SemanticSegmentor"])
    model = build_model(cfg)
    assert parts_with_gradient(model) == parts_that_learn(encoder)
    with torch.no_grad():
        scores = [result["sem_seg"] for result in model.eval()(batch())]
    assert [tuple(score.shape) for score in scores] == [(3, 64, 96), (3, 50, 70)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["name"])
def test_official_mask2former_learns_beside_its_own_r50(mask2former_cfg, encoder):
    r50, cfg = mask2former_cfg, mask2former_cfg.clone()
    apply_encoder(cfg, encoder, keep=SMALL_MASK2FORMER)
    model = build_model(cfg)
    assert type(model).__module__ == "mask2former.maskformer_model"
    assert parts_with_gradient(model) == parts_that_learn(encoder)
    with torch.no_grad():
        scores = [result["sem_seg"] for result in model.eval()(batch())]
    assert [tuple(score.shape) for score in scores] == [(3, 64, 96), (3, 50, 70)]
    r50.merge_from_list(SMALL_MASK2FORMER)
    r50.MODEL.WEIGHTS = ""
    official = build_model(r50)
    assert type(official.backbone).__name__ == "ResNet"
    assert parts_with_gradient(official) == {"sem_seg_head"}


def test_head_starts_from_the_same_weights_with_every_encoder(mask2former_cfg):
    """Rule 11, for the official head."""
    states = []
    for encoder in (VIT, DARKNET):
        cfg = mask2former_cfg.clone()
        apply_encoder(cfg, encoder, keep=SMALL_MASK2FORMER)
        torch.manual_seed(0)
        states.append(build_model(cfg).sem_seg_head.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_frozen_stays_frozen(cfg):
    apply_encoder(
        cfg,
        {**DARKNET, "freeze": "body", "batch_norm": "keep"},
        keep=[*SMALL, "MODEL.META_ARCHITECTURE", "SemanticSegmentor"],
    )
    model = build_model(cfg)
    before = {
        name: value.clone() for name, value in model.backbone.encoder.body.state_dict().items()
    }
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    assert parts_with_gradient(model) == {"encoder.neck", "sem_seg_head"}
    optimizer.step()
    after = model.backbone.encoder.body.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert model.training
    assert not model.backbone.encoder.body.training


def test_node_has_the_defaults_of_the_spec(cfg):
    # adapters are refused there
    fields = {name.upper() for name in EncoderSpec.model_fields.keys() - {"adapt"}}
    assert set(cfg.MODEL.ENCODER_ABLATIONS) == fields | {"OUT_FEATURES"}
    cfg.MODEL.ENCODER_ABLATIONS.NAME = "clip_b16"
    assert spec_from_config(cfg) == EncoderSpec(name="clip_b16")
    node = cfg.MODEL.ENCODER_ABLATIONS
    add_encoder_config(cfg)
    assert cfg.MODEL.ENCODER_ABLATIONS is node


def test_every_setting_survives_the_config_and_its_file(cfg, tmp_path):
    spec = EncoderSpec(
        **VIT,
        taps=(0.25, 0.5, 0.5, 1.0),
        freeze=3,
        final_norm=False,
        top_down=True,
        mean=(0.5, 0.5, 0.5),
    )
    apply_encoder(cfg, spec)
    assert spec_from_config(cfg) == spec
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = get_cfg()
    add_encoder_config(again)
    again.merge_from_file(str(tmp_path / "config.yaml"))
    assert spec_from_config(again) == spec


def test_command_line_wins_over_the_yaml(cfg):
    options = [
        f"{NODE}.FREEZE",
        "2",
        f"{NODE}.CHANNELS",
        "64",
        "MODEL.WEIGHTS",
        "model.pth",
        "INPUT.FORMAT",
        "BGR",
    ]
    apply_encoder(cfg, {**VIT, "freeze": "body"}, keep=options)
    assert (spec_from_config(cfg).freeze, spec_from_config(cfg).channels) == (2, 64)
    assert (cfg.MODEL.WEIGHTS, cfg.INPUT.FORMAT) == ("model.pth", "BGR")
    apply_encoder(cfg, VIT)
    cfg.merge_from_list([f"{NODE}.FREEZE", "first_3", f"{NODE}.TAPS", "[0.5, 0.5, 1.0, 1.0]"])
    assert (spec_from_config(cfg).freeze, spec_from_config(cfg).taps) == (3, (0.5, 0.5, 1.0, 1.0))


def test_another_encoder_on_the_command_line_brings_its_own_mean(cfg):
    apply_encoder(cfg, VIT, keep=[f"{NODE}.NAME", "clip_b32"])
    assert [round(value, 2) for value in cfg.MODEL.PIXEL_MEAN] == [122.77, 116.75, 104.09]


def test_yaml_of_another_backbone_is_adapted(mask2former_cfg):
    apply_encoder(mask2former_cfg, "darknet53_in1k")
    head = mask2former_cfg.MODEL.SEM_SEG_HEAD
    assert head.IN_FEATURES == LEVELS
    assert list(head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES) == LEVELS[1:]
    assert mask2former_cfg.MODEL.WEIGHTS == ""
    assert mask2former_cfg.MODEL.ENCODER_ABLATIONS.NAME == "darknet53_in1k"


def test_rounded_numbers_agree(cfg):
    apply_encoder(cfg, DARKNET)
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [123.68, 116.28, 103.53], [58.40, 57.12, 57.38]
    build_backbone(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"],
            r"MODEL.PIXEL_MEAN is \[103.53, .*needs \[123.675, 116.28",
        ),
        (
            ["MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"],
            r"MODEL.PIXEL_STD is \[1.0, .*needs \[58.395, 57.12, 57.375\]",
        ),
        (["MODEL.PIXEL_MEAN", "[103.53]"], "MODEL.PIXEL_MEAN is"),
        (["INPUT.FORMAT", "BGR"], "INPUT.FORMAT is BGR, the encoder needs RGB"),
        (
            ["MODEL.SEM_SEG_HEAD.IN_FEATURES", "['p2', 'res3']"],
            r"IN_FEATURES is \['p2', 'res3'\], .*\['p2', 'p3'",
        ),
        (["MODEL.SEM_SEG_HEAD.IN_FEATURES", "[]"], r"IN_FEATURES is \[\]"),
        ([f"{NODE}.NAME", "clip_b23"], "unknown encoder 'clip_b23'. Did you mean 'clip_b32'"),
        ([f"{NODE}.NAME", ""], "MODEL.ENCODER_ABLATIONS.NAME is empty"),
        ([f"{NODE}.CHANNELS", "33"], "MODEL.ENCODER_ABLATIONS: 'channels': .* multiple of 32"),
        ([f"{NODE}.PATCH_SIZE", "14"], "patch_size is stated as 14"),
    ],
)
def test_disagreements_name_the_key_and_both_values(cfg, options, message):
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    apply_encoder(cfg, DARKNET)
    cfg.merge_from_list(options)
    with pytest.raises(InputError, match=message):
        build_backbone(cfg)


def test_levels_of_mask2formers_pixel_decoder_are_checked(mask2former_cfg):
    apply_encoder(mask2former_cfg, DARKNET)
    mask2former_cfg.MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = [
        "res3",
        "p4",
        "p5",
    ]
    with pytest.raises(InputError, match="DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES is"):
        build_backbone(mask2former_cfg)


def test_config_without_node():
    with pytest.raises(InputError, match=r"no MODEL.ENCODER_ABLATIONS. Call add_encoder_config"):
        spec_from_config(get_cfg())


def test_unknown_encoder(cfg):
    with pytest.raises(InputError, match=r"there is no file nothing\.yaml"):
        apply_encoder(cfg, "nothing.yaml")


def test_adapters_are_refused(cfg):
    with pytest.raises(InputError, match=r"adapt \(LoRA\).* not by Detectron2"):
        apply_encoder(cfg, VIT | {"adapt": {"lora": {"rank": 4}}})


def test_statistics_that_its_loop_cannot_estimate_are_refused(cfg):
    apply_encoder(cfg, EncoderSpec(name="darknet_tiny", weights="random", freeze="body"))
    with pytest.raises(InputError, match=r"BATCH_NORM to keep"):
        build_backbone(cfg)
    cfg.merge_from_list(["MODEL.ENCODER_ABLATIONS.BATCH_NORM", "keep"])
    assert build_backbone(cfg).encoder.batch_norm == "keep"
