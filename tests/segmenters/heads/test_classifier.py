"""The head for whole images."""

import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.custom_head import build_with_custom_head
from encoder_ablations.segmenters.heads.classifier import ClassifierHead
from encoder_ablations.segmenters.spec import ClassifierSpec

CLASSES = 5


def build(encoder, classes=CLASSES, **settings):
    spec = ClassifierSpec(name="classifier", **settings)
    return build_segmenter(spec, encoder, classes, seed=0)


def batch(size=(64, 96), count=6, classes=CLASSES):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *size), generator=generator)
    return images, torch.randint(0, classes, (count, 1, 1), generator=generator)


def test_scores_are_those_of_the_image_everywhere(make_encoder):
    segmenter = build(make_encoder()).eval()
    images, _ = batch((70, 75))
    scores = segmenter.scores(images)
    assert scores.shape == (6, CLASSES, 70, 75)
    logits = segmenter.predict(images).at((1, 1))
    assert torch.allclose(scores, logits.expand_as(scores), atol=1e-6)
    labels = segmenter.predict(images).labels((1, 1))
    assert torch.equal(labels, logits.argmax(dim=1))


def test_padding_is_not_read(make_encoder):
    """70×75 is padded to 96×96, which is 24×24 steps of p2; the image covers 18×19 of them."""
    segmenter = build(make_encoder(), pooled="all", normalize=False).eval()
    images, _ = batch((70, 75))
    means = []
    for name, stride in (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32)):
        level = segmenter.pyramid(images)[name]
        means.append(level[..., : -(-70 // stride), : -(-75 // stride)].mean(dim=(2, 3)))
    head = segmenter.head.classifier
    expected = F.linear(torch.cat(means, dim=1), head.weight.flatten(1), head.bias)
    assert torch.allclose(segmenter.predict(images).at((1, 1))[..., 0, 0], expected, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_images(make_encoder):
    weights = [1.0, 2.0, 0.5, 1.0, 3.0]
    settings = {"label_smoothing": 0.1, "class_weights": weights}
    segmenter = build(make_encoder(), loss={"cross_entropy": settings})
    images, labels = batch()
    (loss,) = segmenter.loss(images, labels).values()
    # BatchNorm with the statistics of the batch
    logits = segmenter.predict(images).at((1, 1))[..., 0, 0]
    expected = F.cross_entropy(logits, labels.flatten(), torch.tensor(weights), label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_parts_of_a_batch_add_up(make_encoder):
    segmenter = build(make_encoder(), normalize=False)
    images, labels = batch()
    totals = segmenter.totals(labels)
    assert totals["cross_entropy"].item() == 6
    (whole,) = segmenter.loss(images, labels).values()
    parts = [
        segmenter.loss(images[part], labels[part], totals)["cross_entropy"]
        for part in (slice(0, 2), slice(2, 6))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_only_what_is_read_learns(make_encoder):
    segmenter = build(make_encoder())
    images, labels = batch()
    sum(segmenter.loss(images, labels).values()).backward()
    assert segmenter.head.levels == ("p5",)
    for name, parameter in segmenter.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    learning = [name for name, each in segmenter.named_parameters() if each.requires_grad]
    assert "encoder.neck.levels.3.weight" in learning
    assert "encoder.neck.levels.0.weight" not in learning


def test_a_head_of_ones_own_may_classify(make_encoder):
    """The trial gives it one class for each image, not masks."""
    shapes = set()

    class Own(ClassifierHead):
        def loss(self, pyramid, masks, totals):
            shapes.add(tuple(masks.shape))
            return super().loss(pyramid, masks, totals)

    spec = ClassifierSpec(name="own")
    segmenter = build_with_custom_head(Own, "own:Own", spec, make_encoder(), CLASSES, seed=0)
    assert segmenter.head.task == "classification"
    assert shapes == {(2, 1, 1)}


def test_very_many_classes(make_encoder):
    segmenter = build(make_encoder(), classes=300)
    images, labels = batch(classes=300)
    (loss,) = segmenter.loss(images, labels).values()
    assert loss.item() == pytest.approx(5.7, abs=0.5)  # log 300
