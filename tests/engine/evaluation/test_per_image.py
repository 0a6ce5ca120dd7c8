"""Per-image counts: they add up to the run's matrix, are small, and damage is noticed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from launching import launch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.evaluation.per_image import (
    ImageCounts,
    PerImage,
    load_per_image,
    save_per_image,
)
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.errors import InputError


def images_of(matrices):
    return [ImageCounts.of(f"image-{n}", ConfusionMatrix(m)) for n, m in enumerate(matrices)]


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_sparse_form_says_the_same_as_the_matrices(classes, count, seed):
    random = np.random.default_rng(seed)
    matrices = random.integers(0, 4, (count, classes, classes)) * random.integers(
        0, 2, (count, classes, classes)
    )
    images = PerImage.of(images_of(matrices), classes)
    assert np.array_equal(images.total().counts, matrices.sum(axis=0))
    margins = images.margins()
    assert margins.shape == (count, 3, classes)
    assert np.array_equal(margins[:, 0], np.diagonal(matrices, axis1=1, axis2=2))
    assert np.array_equal(margins[:, 1], matrices.sum(axis=2))
    assert np.array_equal(margins[:, 2], matrices.sum(axis=1))


def test_evaluation_keeps_every_image_in_order(terrain):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    segmenter = build_segmenter(LinearSpec(name="linear"), encoder, 3, 0)
    dataset = FolderDataset(terrain, "test")
    result = evaluate(
        segmenter,
        evaluation_items(dataset, range(8), AugmentationSpec()),
        3,
        make_accelerator("cpu"),
    )
    images = PerImage.of(result.images, 3)
    assert images.ids == dataset.ids
    assert np.array_equal(images.total().counts, result.confusion.counts)
    first = torch.from_numpy(dataset[0].mask)
    assert images.margins()[0, 1].tolist() == [(first == c).sum().item() for c in range(3)]


def test_written_and_read(tmp_path):
    matrices = np.random.default_rng(0).integers(0, 5, (6, 3, 3))
    save_per_image(PerImage.of(images_of(matrices), 3), tmp_path / "per_image.npz")
    images = load_per_image(tmp_path / "per_image.npz", matrices.sum(axis=0))
    assert images.ids == [f"image-{n}" for n in range(6)]
    assert np.array_equal(images.margins()[:, 1], matrices.sum(axis=2))
    assert load_per_image(tmp_path / "absent.npz", matrices.sum(axis=0)) is None


def test_many_classes_stay_small(tmp_path):
    """2,000 images of 150 classes as in ADE20K, ten classes an image: dense they would take 360
    MB."""
    random = np.random.default_rng(0)
    images = []
    for n in range(2000):
        present = random.choice(150, 10, replace=False)
        cells = np.sort((present[:, None] * 150 + present).ravel()).astype(np.int32)
        images.append(ImageCounts(f"ADE_val_{n:08}", cells, random.integers(1, 30000, 100)))
    save_per_image(PerImage.of(images, 150), tmp_path / "per_image.npz")
    assert (tmp_path / "per_image.npz").stat().st_size < 1.5e6


@pytest.mark.parametrize(
    "damage", ["truncated", "other run", "no archive", "fewer classes", "cells out of range"]
)
def test_damage_is_one_line(tmp_path, damage):
    path, matrices = tmp_path / "per_image.npz", np.random.default_rng(0).integers(0, 5, (6, 3, 3))
    images = PerImage.of(images_of(matrices), 3)
    total = matrices.sum(axis=0)
    if damage == "fewer classes":
        total = total[:2, :2]
    if damage == "cells out of range":
        images = PerImage(images.ids, images.starts, images.cells + 5, images.counts, 3)
    save_per_image(images, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "no archive":
        path.write_text("nothing")
    elif damage == "other run":
        total = total + np.eye(3, dtype=int)
    with pytest.raises(InputError, match=r"per_image.npz (is damaged|does not add up)"):
        load_per_image(path, total)


GATHER = """
import numpy as np
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.evaluate import gather_images
from encoder_ablations.engine.evaluation.per_image import ImageCounts

accelerator = make_accelerator("cpu")
mine = range(5)[accelerator.process_index :: accelerator.num_processes]
images = [ImageCounts.of(str(n), ConfusionMatrix(np.full((1, 1), n))) for n in mine]
found = gather_images(images, accelerator)
assert accelerator.num_processes == 2
counts = [(image.id, image.counts.tolist()) for image in found]
assert counts == [("0", []), *((str(n), [n]) for n in range(1, 5))]
accelerator.end_training()
"""


def test_two_processes_gather_in_the_order_of_the_set(tmp_path):
    (tmp_path / "program.py").write_text(GATHER)
    code, output = launch(tmp_path / "program.py")
    assert code == 0, output[-3000:]
