"""The official Mask2Former as one of our heads: the same numbers as the official model itself."""

from importlib.util import find_spec

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.mask2former_official import OfficialMask2FormerSpec
from encoder_ablations.segmenters.ops.official_operator import provide_operator
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

pytestmark = pytest.mark.detectron2
pytest.importorskip("detectron2", reason="Detectron2 is not installed")
if find_spec("mask2former") is None:
    pytest.skip("the official Mask2Former is not on PYTHONPATH", allow_module_level=True)

from detectron2.config import get_cfg  # noqa: E402
from detectron2.data import MetadataCatalog  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402
from detectron2.structures import Instances  # noqa: E402

from encoder_ablations.encoders.frameworks.detectron2 import add_encoder_config, apply_encoder  # noqa: E402
from encoder_ablations.segmenters.heads.mask2former_official import (  # noqa: E402
    OfficialMask2FormerHead,
    config_of,
    import_official,
    spec_of,
)

CLASSES = 4
VIT = EncoderSpec(name="test_vit", weights="random", channels=32)
TINY = {
    "queries": 5,
    "hidden": 32,
    "heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "decoder_feedforward": 48,
}
LOSS = {
    "points": 64,
    "class_weight": 2.5,
    "mask_weight": 4.5,
    "dice_weight": 3.5,
    "no_object_weight": 0.2,
}
SPEC = OfficialMask2FormerSpec(
    name="mask2former_official", oversample_ratio=2.0, importance_ratio=0.5, **TINY, **LOSS
)


@pytest.fixture
def official():
    """The official ``MaskFormer`` on one of our encoders."""
    encoder = build_encoder(VIT, 0)
    cfg = config_of(SPEC, CLASSES, encoder.levels)
    add_encoder_config(cfg)
    apply_encoder(cfg, VIT)
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "MaskFormer", "MODEL.DEVICE", "cpu", "SEED", 0])
    cfg.DATASETS.TRAIN = ("official_head_test",)
    MetadataCatalog.get("official_head_test").set(
        stuff_classes=["a", "b", "c", "d"], ignore_label=255
    )
    return build_model(cfg)


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 96), generator=generator)
    masks = torch.randint(0, CLASSES, (2, 8, 12), generator=generator)
    masks = masks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    masks[0][masks[0] == 2] = 255
    return images, masks


def as_official_inputs(images, masks):
    samples = []
    for image, mask in zip(images, masks, strict=True):
        labels = torch.tensor([value for value in mask.unique().tolist() if value != 255])
        instances = Instances(tuple(mask.shape))
        instances.gt_classes = labels
        instances.gt_masks = mask == labels[:, None, None]
        samples.append(
            {
                "image": image,
                "instances": instances,
                "height": mask.shape[0],
                "width": mask.shape[1],
            }
        )
    return samples


def test_loss_and_scores_are_those_of_the_official_model(official):
    images, masks = batch()
    ours = Segmenter(
        official.backbone.encoder,
        OfficialMask2FormerHead(official.sem_seg_head, official.criterion, SPEC),
    )
    torch.manual_seed(1)
    losses = official.train()(as_official_inputs(images, masks))
    torch.manual_seed(1)
    found = ours.train().loss(images, masks)
    for name, official_name in {
        "class": "loss_ce",
        "mask": "loss_mask",
        "dice": "loss_dice",
    }.items():
        expected = sum(value for key, value in losses.items() if key.startswith(official_name))
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        outputs = official.eval()(as_official_inputs(images, masks))
        scores = ours.eval().scores(images)
    for score, output in zip(scores, outputs, strict=True):
        torch.testing.assert_close(score, output["sem_seg"], rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_are_divided_by_what_the_whole_is(make_encoder):
    segmenter = build_segmenter(SPEC, make_encoder(), CLASSES, seed=0)
    images, masks = batch()
    totals = segmenter.totals(masks)
    torch.manual_seed(1)
    alone = segmenter.loss(images, masks)
    torch.manual_seed(1)
    as_half = segmenter.loss(images, masks, {name: 2 * value for name, value in totals.items()})
    for name, value in alone.items():
        torch.testing.assert_close(2 * as_half[name], value)


def test_its_operator_is_ours_and_its_flops_are_counted(make_encoder):
    encoder = build_encoder(VIT, 0)
    specs = (SPEC, Mask2FormerSpec(name="mask2former", **TINY, **LOSS))
    models = [build_segmenter(spec, encoder, CLASSES, seed=0) for spec in specs]
    assert [model.head.attention_paths() for model in models] == [set(), set()]
    costs = [measure_cost(model, (128, 128), (1,), seconds=0.01) for model in models]
    assert [model.head.attention_paths() for model in models] == [{provide_operator()}, {"numba"}]
    assert costs[0].flops_by_part == costs[1].flops_by_part
    assert costs[0].parameters == costs[1].parameters


def test_settings_survive_the_configuration(make_encoder):
    assert spec_of(config_of(SPEC, CLASSES, make_encoder().levels)) == SPEC


def test_the_official_defaults_are_the_official_configuration():
    import mask2former
    from detectron2.projects.deeplab import add_deeplab_config

    cfg = get_cfg()
    add_deeplab_config(cfg)
    import_official().add_maskformer2_config(cfg)
    root = mask2former.__file__.removesuffix("mask2former/__init__.py")
    cfg.merge_from_file(
        f"{root}configs/ade20k/semantic-segmentation/maskformer2_R50_bs16_160k.yaml"
    )
    assert spec_of(cfg) == OfficialMask2FormerSpec(name="mask2former_official")


def test_impossible_heads(make_encoder):
    with pytest.raises(
        InputError, match=r"segmenter\.heads: 3 does not divide segmenter\.hidden \(32\)"
    ):
        build_segmenter(SPEC.model_copy(update={"heads": 3}), make_encoder(), CLASSES, seed=0)


def test_of_300_classes_padding_and_65535_are_ignored_and_255_is_a_class():
    segmenter = build_segmenter(SPEC, build_encoder(VIT, 0), 300, seed=0)
    masks = torch.full((2, 64, 80), 65535)
    masks[0, :32], masks[1, :, :40] = 255, 299
    assert (
        segmenter.totals(masks)["masks"] == 2
    )  # 80 columns are padded to 96: with no third segment
    masks[1, :8] = 255
    assert segmenter.totals(masks)["masks"] == 3
    losses = segmenter.loss(torch.zeros(2, 3, 64, 80), masks)
    assert all(value.isfinite() for value in losses.values())
