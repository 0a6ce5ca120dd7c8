"""Every kind of encoder under every head: they are built, trained, evaluated and costed.

Models are narrow and shallow, and their weights random.
"""

import pytest
import timm
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.bodies.stages import stage_maps
from encoder_ablations.encoders.build import NECKS, build_encoder
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.table.lookup import TABLE
from encoder_ablations.encoders.table.rows import UNetRow, ViTRow
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.segmenters.build import build_segmenter, encoder_for
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.utils.errors import InputError
from tests.encoders.small_vits import CREATE, options_of

pytestmark = pytest.mark.slow

STAGES = (1, 1, 1, 1)
NARROW = (16, 32, 48, 64)
SMALL = {
    "resnet50": {"layers": STAGES, "channels": (8, 16, 24, 32)},
    "convnext_base": {"depths": STAGES, "dims": NARROW},
    "swin_base_patch4_window12_384": {
        "depths": STAGES,
        "embed_dim": 16,
        "num_heads": (1, 2, 4, 8),
        "window_size": 4,
    },
    "sam2_hiera_base_plus": {
        "stages": (1, 2, 2, 2),
        "embed_dim": 16,
        "num_heads": 1,
        "global_att_blocks": (4,),
    },
    "tf_efficientnet_lite0": {},
}
"""Options that make hierarchical models of timm small, by architecture."""
ENCODERS = (
    "clip_b16",
    "siglip_b16",
    "dinov2_reg_s14",
    "dinov3_s16",
    "mae_b16",
    "darknet_tiny",
    "unet_tiny",
    "efficientnet_lite0",
    "resnet50",
    "convnext_b",
    "swin_b",
    "sam2_hiera_bplus",
)
HEADS = sorted(BUILT_IN.keys() - {"mask2former_official", "zero_shot"})
SETTINGS = {
    "queries": 5,
    "hidden": 32,
    "heads": 2,
    "encoder_layers": 1,
    "encoder_feedforward": 32,
    "decoder_layers": 2,
    "decoder_feedforward": 32,
    "branch_hidden": 32,
    "widths": (16, 8, 8),
    "norm": "group",
}
RECIPE = Recipe(
    steps=3,
    batch_size=2,
    evaluate_every=3,
    augmentation=AugmentationSpec(crop=(64, 64)),
    optimizer=OptimizerSpec(lr=1e-3, encoder_lr_multiplier=1.0, clip_norm=1.0),
)


def create_small(name, **options):
    """``timm.create_model``, small, whatever the family."""
    architecture = name.partition(".")[0]
    if architecture in SMALL:
        return CREATE(name, **(SMALL[architecture] | options))
    return CREATE(name, **(options_of(name) | options))


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr(timm, "create_model", create_small)
    # what is known of models of full size is not true of these, and the reverse
    stage_maps.cache_clear()
    yield
    stage_maps.cache_clear()


@pytest.fixture(scope="module")
def craters(terrain):
    """Terrain whose boulders are ignored."""
    return terrain.model_copy(
        update={"name": "craters", "classes": ("background", "crater"), "ignore_ids": (2,)}
    )


def reads_one_map(head):
    return head == "conv_transpose"


def fits(encoder, head):
    """Whether a head can read an encoder."""
    row, reads = TABLE[encoder], head_entry(head).reads
    if reads_one_map(head) or reads not in ("pyramid", "maps"):
        return isinstance(row, ViTRow)
    return reads == "maps" or not isinstance(row, UNetRow)


def make_segmenter(encoder, head):
    entry = head_entry(head)
    changes = {"weights": "random", "channels": 32}
    if reads_one_map(head) and isinstance(TABLE[encoder], ViTRow):
        changes = {"weights": "random", "neck": "none", "taps": (1.0,)}
    elif NECKS[type(TABLE[encoder])] == ("none",) or entry.reads == "body":
        changes = {"weights": "random"}
    known = {key: value for key, value in SETTINGS.items() if key in entry.spec.model_fields}
    spec = entry.spec(name=head, **known)
    built = build_encoder(encoder_for(spec, load_encoder(encoder, changes)))
    return build_segmenter(spec, built, 2, seed=0)


def state_of(module):
    return torch.cat([each.detach().flatten().clone() for each in module.parameters()])


PAIRS = [(encoder, head) for encoder in ENCODERS for head in HEADS]
FITTING = [pair for pair in PAIRS if fits(*pair)]


@pytest.mark.parametrize(("encoder", "head"), FITTING)
def test_trained_evaluated_and_costed(craters, tmp_path, encoder, head):
    segmenter = make_segmenter(encoder, head)
    parts = [segmenter.encoder.body, segmenter.head]
    if list(segmenter.encoder.neck.parameters()):
        parts.append(segmenter.encoder.neck)
    before = [state_of(part) for part in parts]
    train, val = FolderDataset(craters, "train"), FolderDataset(craters, "val")
    data = TrainingData(craters, train, [0, 1, 2, 3], val, [0, 1])
    accelerator = make_accelerator("cpu")
    progress = Trainer(segmenter, data, RECIPE, 0, tmp_path, accelerator).run()
    assert progress.step == 3
    assert torch.tensor(list(progress.loss), dtype=torch.float64).isfinite().all()
    for old, part in zip(before, parts, strict=True):
        assert not torch.equal(old, state_of(part))
    items = list(evaluation_items(val, [0, 1], RECIPE.augmentation))
    found = evaluate(segmenter, items, 2, accelerator).confusion
    labelled = sum(int((item.mask != 255).sum()) for item in items)
    assert 0 < labelled < 2 * 64 * 64
    assert found.counts.sum() == labelled
    cost = measure_cost(segmenter, (64, 96), (1,), seconds=0.0)
    assert cost.flops == sum(cost.flops_by_part.values())
    assert cost.flops_by_part["encoder.body"] > 0
    assert cost.flops_by_part["head"] > 0


@pytest.mark.parametrize(("encoder", "head"), [pair for pair in PAIRS if pair not in FITTING])
def test_what_does_not_fit_is_refused_in_one_line(encoder, head):
    with pytest.raises(InputError) as raised:
        make_segmenter(encoder, head)
    assert "\n" not in str(raised.value)


def test_every_family_of_maps_is_there():
    kinds = {type(row) for row in TABLE.values()}
    assert {type(TABLE[name]) for name in ENCODERS} == kinds
