"""Levels of the backbone in Detectron2: those that heads read, p6 and p7, and what learns."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from encoder_ablations.utils.errors import InputError

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling import build_backbone, build_model  # noqa: E402
from detectron2.projects.deeplab import add_deeplab_config  # noqa: E402
from detectron2.structures import Boxes, Instances  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

from encoder_ablations.encoders.frameworks.detectron2 import (  # noqa: E402
    add_encoder_config,
    apply_encoder,
)

VIT = {"name": "test_vit", "weights": "random", "channels": 32}
NECKS = [
    VIT,
    {**VIT, "top_down": True},
    {**VIT, "neck": "simple_feature_pyramid"},
    {"name": "darknet_tiny", "weights": "random", "channels": 32},
    {"name": "darknet_tiny", "weights": "random", "channels": 32, "neck": "fpn_concat"},
    {"name": "test_convnext", "weights": "random", "channels": 32},
    {"name": "test_resnet", "weights": "random", "neck": "none"},
]
OUT = "MODEL.ENCODER_ABLATIONS.OUT_FEATURES"
DETECTION = {
    "COCO-Detection/retinanet_R_50_FPN_1x.yaml": ["p3", "p4", "p5", "p6", "p7"],
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": ["p2", "p3", "p4", "p5", "p6"],
}


def named(encoder):
    return "-".join(str(value) for value in encoder.values() if value not in ("random", 32))


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_encoder_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def as_deeplab(cfg, encoder):
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "DeepLabV3PlusHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p5"]
    cfg.MODEL.SEM_SEG_HEAD.PROJECT_FEATURES = ["p2"]
    cfg.MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS = [32]
    cfg.MODEL.SEM_SEG_HEAD.ASPP_CHANNELS = 32
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    cfg.MODEL.SEM_SEG_HEAD.NORM = "GN"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    apply_encoder(cfg, encoder)


def without_gradient(model, samples):
    with EventStorage():  # detection heads write to it
        sum(model.train()(samples).values()).backward()
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [name for name, parameter in learning if parameter.grad is None]


@pytest.mark.parametrize("encoder", NECKS, ids=named)
def test_every_learning_parameter_has_a_gradient_in_deeplab(cfg, encoder):
    """DistributedDataParallel takes one without for an error."""
    as_deeplab(cfg, encoder)
    model = build_model(cfg)
    samples = [
        {"image": torch.rand(3, 64, 64) * 255, "sem_seg": torch.randint(0, 3, (64, 64))}
        for _ in range(2)
    ]
    assert without_gradient(model, samples) == []
    frozen = [name for name, p in model.backbone.named_parameters() if not p.requires_grad]
    assert len(frozen) == len(list(model.backbone.parameters())) - len(
        [p for p in model.backbone.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize("name", DETECTION)
def test_detection_yaml_of_detectron2_trains_as_shipped(name):
    cfg = get_cfg()
    add_encoder_config(cfg)
    # where model_zoo.get_config_file looks, which needs pkg_resources
    package = Path(find_spec("detectron2").origin).parent
    cfg.merge_from_file(str(package / "model_zoo" / "configs" / name))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.RETINANET.NUM_CLASSES = 3
    cfg.MODEL.MASK_ON = False
    apply_encoder(cfg, VIT)
    model = build_model(cfg)
    instances = Instances((128, 128))
    instances.gt_boxes = Boxes([[4.0, 4.0, 60.0, 60.0], [30.0, 8.0, 120.0, 120.0]])
    instances.gt_classes = torch.tensor([0, 2])
    assert (
        without_gradient(model, [{"image": torch.rand(3, 128, 128), "instances": instances}]) == []
    )
    shapes = model.backbone.output_shape()
    assert list(shapes) == DETECTION[name]
    with torch.no_grad():
        features = model.backbone(torch.rand(1, 3, 128, 160))
    for level, shape in shapes.items():
        rows, columns = (-(-side // shape.stride) for side in (128, 160))
        assert features[level].shape == (1, shape.channels, rows, columns)


def test_p6_alone_is_every_second_pixel_of_p5(cfg):
    apply_encoder(cfg, VIT, keep=[OUT, "['p5', 'p6']"])
    cfg.MODEL.META_ARCHITECTURE = "Own"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p5"]
    features = build_backbone(cfg)(torch.rand(1, 3, 128, 128))
    assert list(features) == ["p5", "p6"]
    assert torch.equal(features["p6"], features["p5"][..., ::2, ::2])


def test_p6_and_p7_start_from_the_seed_and_leave_the_generator(cfg):
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.RETINANET.IN_FEATURES = ["p3", "p7"]
    apply_encoder(cfg, VIT, keep=["SEED", "3"])
    before = torch.get_rng_state()
    first, second = build_backbone(cfg), build_backbone(cfg)
    assert torch.equal(before, torch.get_rng_state())
    assert list(first.output_shape()) == ["p3", "p7"]
    assert torch.equal(first.top_block.p7.weight, second.top_block.p7.weight)


def test_probing_leaves_batch_norm_as_it_was(cfg):
    as_deeplab(cfg, NECKS[-1])
    states = [build_backbone(cfg).state_dict()]
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    states.append(build_backbone(cfg).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_unknown_and_missing_levels(cfg):
    apply_encoder(cfg, VIT, keep=[OUT, "['p3', 'p9']", "MODEL.META_ARCHITECTURE", "RetinaNet"])
    with pytest.raises(InputError, match=r"OUT_FEATURES.*p9.*Allowed: p2"):
        build_backbone(cfg)
    cfg.merge_from_list([OUT, "['p3']"])
    with pytest.raises(InputError, match=r"RETINANET\.IN_FEATURES"):
        build_backbone(cfg)


def test_the_lazy_configuration_of_the_guide_learns():
    guide = (Path(__file__).parents[3] / "docs" / "detectron2.md").read_text()
    code = guide.partition("## With LazyConfig")[2].partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(code, names)
    model = names["network"]
    assert [round(value, 2) for value in model.pixel_mean.flatten().tolist()] == [
        123.68,
        116.28,
        103.53,
    ]
    sample = {"image": torch.rand(3, 64, 64) * 255, "sem_seg": torch.randint(0, 3, (64, 64))}
    assert without_gradient(model, [sample]) == []
