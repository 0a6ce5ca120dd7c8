"""The cache of frozen features changes no bit of a result, and notices whatever changes the
features."""

import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import evaluation_items, training_batches
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.custom import find_transform
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.frozen import features
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.arithmetic import float32_products
from encoder_ablations.utils.custom_code import loading
from encoder_ablations.utils.errors import InputError

VIEWS = AugmentationSpec(crop=(64, 64), views=2)
RECIPE = Recipe(
    steps=8, batch_size=2, evaluate_every=4, augmentation=VIEWS, optimizer=OptimizerSpec(lr=1e-3)
)
LINEAR = LinearSpec(name="linear")
MASK2FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=64
)
VIT = EncoderSpec(name="test_vit", weights="random", channels=32, freeze="body")
BARE = EncoderSpec(name="test_vit", weights="random", neck="none", taps=(0.5, 1.0), freeze="body")
DARKNET = EncoderSpec(name="test_resnet", weights="random", channels=32, freeze="body")
CONVNEXT = DARKNET.model_copy(update={"name": "test_convnext"})


@pytest.fixture
def calls(monkeypatch):
    """How many images each call of a body gets."""
    from encoder_ablations.encoders.bodies.darknet import DarkNetBody
    from encoder_ablations.encoders.bodies.hierarchical import HierarchicalBody
    from encoder_ablations.encoders.bodies.vit import ViTBody

    seen = []
    for kind in (ViTBody, DarkNetBody, HierarchicalBody):

        def forward(self, images, original=kind.forward):
            seen.append(len(images))
            return original(self, images)

        monkeypatch.setattr(kind, "forward", forward)
    return seen


def segmenter_of(encoder=VIT, head=LINEAR, seed=0, precision="fp32"):
    built = build_encoder(encoder, 0)  # the same body for all seeds, as with pretrained weights
    built.round_maps(precision)
    return build_segmenter(head, built, 3, seed)


def train(terrain, folder, store, recipe=RECIPE, encoder=VIT, head=LINEAR, seed=0, images=4):
    """Trains; returns what must not depend on the store, and the source."""
    built = segmenter_of(encoder, head, seed, recipe.feature_precision)
    train_split, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train_split, list(range(images)), val, [0, 1, 2])
    trainer = Trainer(built, data, recipe, seed, folder, make_accelerator("cpu"), store=store)
    progress = trainer.run()
    best = load_checkpoint(trainer.best)
    outcome = (progress.loss, progress.val_score, progress.best_step, best["step"])
    return outcome, built.state_dict(), best["model"], trainer.features


def same(first, second):
    assert first[0] == second[0]
    for one, other in zip(first[1:3], second[1:3], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store", 1 << 30)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("encoder", "head"),
    [(VIT, LINEAR), (VIT, MASK2FORMER), (DARKNET, LINEAR), (BARE, LINEAR), (CONVNEXT, LINEAR)],
    ids=["linear", "mask2former", "darknet", "bare", "convnext"],
)
def test_the_store_changes_no_bit(terrain, tmp_path, store, calls, encoder, head, precision):
    """Whether features are computed every time, kept, or read from an earlier run."""
    recipe = RECIPE.model_copy(update={"precision": precision})
    without = train(terrain, tmp_path / "without", None, recipe, encoder, head)
    assert set(calls) == {
        1
    }  # one at a time also without a store: else batches would round differently
    calls.clear()
    filling = train(terrain, tmp_path / "filling", store, recipe, encoder, head)
    same(without, filling)
    assert (
        len(calls) == 4 * 2 + 3
    )  # each view and each evaluation image once, though both are used twice
    assert (filling[3].computed, filling[3].read) == (11, 11)
    calls.clear()
    reading = train(terrain, tmp_path / "reading", store, recipe, encoder, head)
    same(without, reading)
    assert calls == []


@pytest.mark.parametrize("rounded", ["bf16", "fp16"])
def test_rounding_is_part_of_the_result_not_of_the_store(terrain, tmp_path, store, rounded):
    recipe = RECIPE.model_copy(update={"feature_precision": rounded})
    without = train(terrain, tmp_path / "without", None, recipe)
    same(without, train(terrain, tmp_path / "filling", store, recipe))
    same(without, train(terrain, tmp_path / "reading", store, recipe))
    exact = train(terrain, tmp_path / "exact", store)
    assert exact[0] != without[0]
    assert exact[3].computed == 11


def test_seeds_heads_and_subsets_share(terrain, tmp_path, store, calls):
    train(terrain, tmp_path / "first", store, images=8)
    calls.clear()
    others = {
        "seed": {"seed": 1, "images": 8},
        "subset": {"images": 3},
        "head": {"head": MASK2FORMER},
    }
    outcomes = [
        train(terrain, tmp_path / name, store, **options)[0] for name, options in others.items()
    ]
    assert len({str(outcome) for outcome in outcomes}) == 3
    neck = VIT.model_copy(update={"channels": 64, "top_down": True})
    train(terrain, tmp_path / "neck", store, encoder=neck, images=8)
    assert calls == []


def test_views_do_not_depend_on_the_seed_and_recur(terrain):
    dataset = FolderDataset(terrain, "train")

    def seen(seed):
        found = {}
        for (batch,) in training_batches(
            dataset, [0, 2, 5], VIEWS, seed=seed, batch_size=3, steps=6
        ):
            for view, image, mask in zip(batch.views, batch.images, batch.masks, strict=True):
                before = found.setdefault(view, (image, mask))
                assert torch.equal(before[0], image)
                assert torch.equal(before[1], mask)
        return found

    first, second = seen(0), seen(1)
    assert {tuple(view) for view in first} == {
        (place, number) for place in (0, 2, 5) for number in (0, 1)
    }
    assert all(torch.equal(first[view][0], second[view][0]) for view in first)
    assert not torch.equal(first[(0, 0)][0], first[(0, 1)][0])


def test_a_learning_body_is_never_kept(terrain, tmp_path, store):
    for freeze in ("none", "all_but_norms", 3):
        train(
            terrain,
            tmp_path / str(freeze),
            store,
            encoder=VIT.model_copy(update={"freeze": freeze}),
        )
    assert not list(store.folder.rglob("*.safetensors"))


def test_random_views_are_not_kept_but_evaluation_is(terrain, tmp_path, store):
    recipe = RECIPE.model_copy(update={"augmentation": AugmentationSpec(crop=(64, 64))})
    without = train(terrain, tmp_path / "without", None, recipe)
    kept = train(terrain, tmp_path / "kept", store, recipe)
    same(without, kept)
    assert (kept[3].computed, kept[3].read) == (3, 3)
    assert len(list(store.folder.rglob("*.safetensors"))) == 3


def test_damaged_files_change_nothing(terrain, tmp_path, store, caplog):
    without = train(terrain, tmp_path / "without", None)
    train(terrain, tmp_path / "filling", store)
    files = sorted(store.folder.rglob("*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:1000])
    content = bytearray(files[1].read_bytes())
    content[-5] ^= 16
    files[1].write_bytes(content)
    repaired = train(terrain, tmp_path / "repaired", store)
    same(without, repaired)
    assert repaired[3].computed == 2
    assert len(caplog.records) == 2


def features_of(terrain, store, encoder=VIT, recipe=RECIPE, change=lambda segmenter: None):
    """Computed or read anew: for one training view and one evaluation image."""
    segmenter = segmenter_of(encoder, precision=recipe.feature_precision).eval()
    change(segmenter)
    dataset = FolderDataset(terrain, "train")
    source = FeatureSource(segmenter, recipe, store)
    ((batch,),) = training_batches(dataset, [0], recipe.augmentation, seed=0, batch_size=1, steps=1)
    assert isinstance(source.training(dataset, batch, batch.images), Features)
    (item,) = evaluation_items(dataset, [0], recipe.augmentation)
    assert isinstance(source.evaluation(dataset, item), Features)
    return source.computed


def one_weight(segmenter):
    with torch.no_grad():
        segmenter.encoder.body.model.blocks[3].mlp.fc1.weight[0, 0] += 1e-6


def augmented(**changes):
    return {"recipe": RECIPE.model_copy(update={"augmentation": VIEWS.model_copy(update=changes)})}


CHANGES = {
    "nothing": ({}, 0),
    "one weight": ({"change": one_weight}, 2),
    "taps": ({"encoder": VIT.model_copy(update={"taps": (0.1, 0.5, 0.75, 1.0)})}, 2),
    "final norm": ({"encoder": VIT.model_copy(update={"final_norm": False})}, 2),
    "neck and channels": ({"encoder": VIT.model_copy(update={"channels": 64})}, 0),
    "crop": (augmented(crop=(64, 32)), 1),
    "scale": (augmented(scale=(1.0, 1.0)), 1),
    "flip": (augmented(flip=0.0), 1),
    "photometric": (augmented(photometric=None), 1),
    "size": (augmented(short_side=96), 2),
    "number of views": (augmented(views=7), 0),
    "mixed precision": ({"recipe": RECIPE.model_copy(update={"precision": "bf16"})}, 1),
    "rounding": ({"recipe": RECIPE.model_copy(update={"feature_precision": "bf16"})}, 2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_key_covers(terrain, store, name):
    options, again = CHANGES[name]
    assert features_of(terrain, store) == 2
    assert features_of(terrain, store, **options) == again
    assert features_of(terrain, store) == 0


def test_the_key_covers_the_code_of_ones_own_transforms(terrain, store, tmp_path, monkeypatch):
    """Under the same name, with the same pixels: nothing else tells that other code made them."""
    monkeypatch.chdir(tmp_path)
    options = augmented(custom=("own_view:same",))

    def begin_with(comment):
        Path("own_view.py").write_text(
            f"def same(image, mask, rng):{comment}\n    return image, mask"
        )
        sys.modules.pop("own_view", None)
        loading._digests.pop("own_view", None)
        find_transform.cache_clear()
        return features_of(terrain, store, **options)

    assert begin_with("") == 2
    assert begin_with("") == 0
    assert begin_with("  # changed") == 1
    sys.modules.pop("own_view", None)


def test_the_cpu_has_no_features_in_tf32(terrain, store):
    assert features_of(terrain, store) == 2
    assert features_of(terrain, store, recipe=RECIPE.model_copy(update={"precision": "tf32"})) == 0


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_features_on_gpus_are_kept_by_how_they_are_multiplied(
    terrain, tmp_path, monkeypatch, precision
):
    """Training follows the recipe, evaluation is in true float32; and what is said in the key is
    what was done."""
    monkeypatch.setattr(features, "precision_on", lambda device, name: name)  # as on a GPU
    segmenter, keys, done = segmenter_of(), [], []
    segmenter.encoder.body.register_forward_hook(
        lambda *_: done.append(set(float32_products("cuda").values()))
    )
    store = FeatureStore(tmp_path / "gpu", 1 << 30)
    monkeypatch.setattr(
        store, "group", lambda key, group=store.group: keys.append(key) or group(key)
    )
    source = FeatureSource(segmenter, RECIPE.model_copy(update={"precision": precision}), store)
    dataset = FolderDataset(terrain, "train")
    ((batch,),) = training_batches(dataset, [0, 1], VIEWS, seed=0, batch_size=1, steps=1)
    with computing(torch.device("cuda"), precision, False):
        source.training(dataset, batch, batch.images)
        source.evaluation(dataset, next(iter(evaluation_items(dataset, [0], VIEWS))))
    assert [key["precision"] for key in keys] == [precision, "fp32"]
    assert done == [{"tf32" if precision == "tf32" else "ieee"}, {"ieee"}]


@pytest.mark.parametrize("deterministic", [False, True])
def test_features_on_gpus_are_kept_by_kind_of_kernels(monkeypatch, deterministic):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    with computing(torch.device("cuda"), "fp32", deterministic):
        kept_by = features._describe_device(torch.device("cuda"))
    assert kept_by == ("H100, deterministic kernels" if deterministic else "H100, fastest kernels")


def test_threads_are_part_of_the_key(terrain, store):
    """Sums over other blocks round differently."""
    assert features_of(terrain, store) == 2
    torch.set_num_threads(2)
    try:
        assert features_of(terrain, store) == 2
    finally:
        torch.set_num_threads(1)


def test_a_changed_file_is_computed_again(tmp_path, store, terrain):
    folder = tmp_path / "mars_terrain"
    generate_terrain(folder, train=2, val=1, test=1, size=64, seed=3)
    spec = terrain.model_copy(update={"root": str(folder)})
    assert features_of(spec, store) == 2
    assert features_of(spec, store) == 0
    path = FolderDataset(spec, "train").image_file(0)
    Image.open(path).rotate(180).save(path)
    assert features_of(spec, store) == 2
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert features_of(spec, store) == 2
    assert len(list(store.folder.rglob("*.safetensors"))) == 2  # new ones take the old ones' place


def test_evaluation_with_the_store_gives_the_same_matrix(terrain, store):
    segmenter, dataset = segmenter_of(head=MASK2FORMER), FolderDataset(terrain, "test")

    def counts(read=None):
        items = evaluation_items(dataset, range(8), VIEWS)
        return evaluate(
            segmenter, items, 3, make_accelerator("cpu"), read=read
        ).confusion.counts.tolist()

    source = FeatureSource(segmenter, RECIPE, store)
    read = lambda item: source.evaluation(dataset, item)  # noqa: E731
    plain = counts()
    assert plain == counts(read) == counts(read)
    assert (source.computed, source.read) == (8, 8)


def test_features_beyond_half_precision_are_named():
    segmenter = segmenter_of(precision="fp16")
    with torch.no_grad():
        segmenter.encoder.body.model.norm.weight.fill_(1e6)
    with pytest.raises(InputError, match=r"fp16 cannot hold this encoder's features.*Use bf16"):
        segmenter.features(torch.zeros(1, 3, 64, 64))
