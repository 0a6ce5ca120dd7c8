"""Counts that a GPU makes without being waited for, and images that are predicted together."""

import pytest
import torch
from waiting import Reads, Waits

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.counting import matrix_of, table_of
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.evaluation.grouping import of_equal_size, read_together
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec

FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=64
)


@pytest.mark.parametrize("classes", [1, 2, 7, 300])
def test_tables_hold_the_confusion_matrix(classes):
    generator = torch.Generator().manual_seed(classes)
    prediction = torch.randint(0, classes, (40, 50), generator=generator)
    truth = torch.randint(0, classes, (40, 50), generator=generator)
    truth[:9] = ignore_label(classes)
    with Waits() as waits, Reads() as reads:
        table = table_of(prediction, truth, classes)
    assert not waits.found
    assert not reads.found
    expected = ConfusionMatrix.of(prediction, truth, classes)
    assert (matrix_of(table, classes).counts == expected.counts).all()
    assert table[-2:].tolist() == [9 * 50, 0]


@pytest.mark.parametrize(
    ("name", "wrong"), [("guess", 3), ("guess", -1), ("true", 3), ("true", -1)]
)
def test_ids_that_are_no_class_are_counted_apart(name, wrong):
    ids = {"guess": torch.zeros(5, dtype=torch.int64), "true": torch.ones(5, dtype=torch.int64)}
    ids[name][2] = wrong
    table = table_of(ids["guess"], ids["true"], 3)
    assert table[-1] == 1
    assert table.sum() == 5


def items(sizes):
    generator = torch.Generator().manual_seed(0)
    return [
        EvaluationItem(
            torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
            torch.randint(0, 3, mask, generator=generator),
            str(number),
        )
        for number, (size, mask) in enumerate(sizes)
    ]


SMALL, WIDE, FINE = ((40, 48), (40, 48)), ((40, 56), (40, 56)), ((40, 48), (80, 96))


def test_neighbours_of_equal_size_are_taken_together():
    given = items([SMALL] * 5 + [WIDE, SMALL, SMALL, FINE, FINE])
    groups = [[item.id for item in group] for group in of_equal_size(given, 3)]
    assert groups == [["0", "1", "2"], ["3", "4"], ["5"], ["6", "7"], ["8", "9"]]
    assert [len(group) for group in of_equal_size(given, 1)] == [1] * 10
    assert list(of_equal_size([], 3)) == []


def test_features_are_joined_level_by_level():
    parts = {
        str(n): Features([torch.full((1, 2, 4, 4), n), torch.ones(1, 3, 2, 2)], (40, 48))
        for n in range(3)
    }
    joined = read_together(items([SMALL] * 3), lambda item: parts[item.id])
    assert joined.image_size == (40, 48)
    assert [each.shape[0] for each in joined.maps] == [3, 3]
    assert joined.maps[0][:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("head", [LinearSpec(name="linear"), FORMER], ids=["linear", "mask2former"])
def test_images_together_are_counted_as_one_at_a_time(head):
    """But for pixels at which two classes are almost equal."""
    encoder = build_encoder(EncoderSpec(name="test_vit", weights="random", channels=32))
    segmenter = build_segmenter(head, encoder, 3, 0)
    given = items([SMALL] * 4 + [FINE, FINE, WIDE])
    single, together = (
        evaluate(segmenter, given, 3, make_accelerator("cpu"), keep_pictures=2, batch=batch)
        for batch in (1, 3)
    )
    assert [each.id for each in together.images] == [each.id for each in single.images]
    assert [each.id for each in together.pictures] == ["0", "1"]
    assert together.confusion.counts.sum() == single.confusion.counts.sum()
    moved = abs(together.confusion.counts - single.confusion.counts).sum()
    assert moved <= 0.002 * single.confusion.counts.sum()


def test_an_unknown_id_is_an_error_of_its_image():
    given = items([SMALL] * 2)
    given[1].mask[0, 0] = 9
    encoder = build_encoder(EncoderSpec(name="test_vit", weights="random", channels=32))
    segmenter = build_segmenter(LinearSpec(name="linear"), encoder, 3, 0)
    with pytest.raises(ValueError, match=r"^1: .*9"):
        evaluate(segmenter, given, 3, make_accelerator("cpu"), batch=2)
