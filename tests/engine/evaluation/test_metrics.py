"""Rule 13: one confusion matrix, and every metric a function of it, equal to Detectron2's and
torchmetrics'."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from encoder_ablations.engine.evaluation import metrics as m
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.utils.errors import InputError

IMAGES = st.integers(1, 4)


@st.composite
def sets_of_images(draw):
    """K, and several (prediction, truth) of different sizes; truth may be all ignored."""
    classes = draw(st.integers(2, 6))
    pairs = []
    for _ in range(draw(IMAGES)):
        shape = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
        prediction = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, classes - 1)))
        labels = st.sampled_from([*range(classes), 255])
        pairs.append((prediction, draw(arrays.arrays(np.int64, shape, elements=labels))))
    return classes, pairs


def count(classes, pairs):
    total = ConfusionMatrix.empty(classes)
    for prediction, truth in pairs:
        total += ConfusionMatrix.of(torch.from_numpy(prediction), torch.from_numpy(truth), classes)
    return total


def detectron2(classes, pairs):
    """``SemSegEvaluator.process`` and ``evaluate`` restated
    (detectron2/evaluation/sem_seg_evaluation.py)."""
    conf = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for prediction, truth in pairs:
        truth = np.where(truth == 255, classes, truth)
        conf += np.bincount(
            (classes + 1) * prediction.reshape(-1) + truth.reshape(-1), minlength=conf.size
        ).reshape(conf.shape)
    acc = np.full(classes, np.nan)
    iou = np.full(classes, np.nan)
    tp = conf.diagonal()[:-1].astype(float)
    pos_gt = conf[:-1, :-1].sum(axis=0).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        class_weights = pos_gt / pos_gt.sum()
        pos_pred = conf[:-1, :-1].sum(axis=1).astype(float)
        acc_valid = pos_gt > 0
        acc[acc_valid] = tp[acc_valid] / pos_gt[acc_valid]
        union = pos_gt + pos_pred - tp
        iou_valid = np.logical_and(acc_valid, union > 0)
        iou[iou_valid] = tp[iou_valid] / union[iou_valid]
        return {
            "mIoU": np.sum(iou[iou_valid]) / np.sum(iou_valid),
            "fwIoU": np.sum(iou[iou_valid] * class_weights[iou_valid]),
            "mACC": np.sum(acc[acc_valid]) / np.sum(acc_valid),
            "pACC": np.sum(tp) / np.sum(pos_gt),
        }


@settings(max_examples=150, deadline=None)
@given(sets_of_images())
def test_equals_detectron2(case):
    classes, pairs = case
    ours, theirs = count(classes, pairs), detectron2(classes, pairs)
    np.testing.assert_allclose(m.mean_iou(ours), theirs["mIoU"], rtol=1e-12)
    np.testing.assert_allclose(m.mean_class_accuracy(ours), theirs["mACC"], rtol=1e-12)
    np.testing.assert_allclose(m.pixel_accuracy(ours), theirs["pACC"], rtol=1e-12)
    if ours.counts.sum():
        np.testing.assert_allclose(m.frequency_weighted_iou(ours), theirs["fwIoU"], rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(sets_of_images())
def test_equals_torchmetrics(case):
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    classes, pairs = case
    ours = count(classes, pairs)
    if not ours.counts.sum():
        return
    iou = MulticlassJaccardIndex(classes, average="none", ignore_index=255)
    macro = MulticlassJaccardIndex(classes, average="macro", ignore_index=255)
    dice = MulticlassF1Score(classes, average="none", ignore_index=255)
    for prediction, truth in pairs:
        for metric in (iou, macro, dice):
            metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    np.testing.assert_allclose(
        np.nan_to_num(m.class_iou(ours)), iou.compute().nan_to_num().numpy(), atol=1e-6
    )
    np.testing.assert_allclose(m.mean_iou_union(ours), macro.compute().numpy(), atol=1e-6)
    np.testing.assert_allclose(
        np.nan_to_num(m.class_dice(ours)), dice.compute().nan_to_num().numpy(), atol=1e-6
    )


def test_known_matrix():
    """Worked by hand: rows are truth."""
    matrix = ConfusionMatrix(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    np.testing.assert_allclose(m.class_iou(matrix)[:2], [3 / 6, 4 / 7])
    assert np.isnan(m.class_iou(matrix)[2])
    assert m.mean_iou(matrix) == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert m.mean_iou_all(matrix) == pytest.approx((3 / 6 + 4 / 7) / 3)
    assert m.pixel_accuracy(matrix) == pytest.approx(7 / 10)
    assert m.mean_class_accuracy(matrix) == pytest.approx((3 / 4 + 4 / 6) / 2)


def test_rows_are_truth():
    matrix = ConfusionMatrix.of(torch.tensor([[1, 1]]), torch.tensor([[0, 1]]), 2)
    assert matrix.counts.tolist() == [[0, 1], [0, 1]]


def test_absent_but_predicted_class_counts_only_where_it_says_so():
    matrix = ConfusionMatrix.of(torch.tensor([[0, 2]]), torch.tensor([[0, 0]]), 3)
    assert m.mean_iou(matrix) == pytest.approx(0.5)
    assert m.mean_iou_union(matrix) == pytest.approx(0.25)
    assert m.mean_iou_all(matrix) == pytest.approx(0.5 / 3)


def test_not_a_mean_of_batch_means():
    """A class that is rare in one image must not weigh as much there as where it fills the
    image."""
    first = (np.zeros((10, 10), np.int64), np.zeros((10, 10), np.int64))
    second = (np.zeros((1, 2), np.int64), np.array([[0, 1]]))
    whole = m.mean_iou(count(2, [first, second]))
    batches = np.mean([m.mean_iou(count(2, [pair])) for pair in (first, second)])
    assert whole == pytest.approx((101 / 102 + 0) / 2)
    assert abs(whole - batches) > 0.1


def test_ignored_pixels_change_nothing():
    torch.manual_seed(0)
    prediction, truth = torch.randint(0, 4, (20, 20)), torch.randint(0, 4, (20, 20))
    truth[5:9] = 255
    other = prediction.clone()
    other[5:9] = (other[5:9] + 1) % 4
    first, second = (ConfusionMatrix.of(p, truth, 4).counts for p in (prediction, other))
    assert (first == second).all()
    assert first.sum() == 16 * 20


def test_many_classes():
    prediction = torch.arange(255).repeat(3)
    assert (ConfusionMatrix.of(prediction, prediction, 255).counts == 3 * np.eye(255)).all()


@pytest.mark.detectron2
def test_equals_detectron2_itself(tmp_path):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.evaluation import SemSegEvaluator
    from PIL import Image

    rng = np.random.default_rng(0)
    classes = 7
    pairs = [
        (rng.integers(0, 7, (40, 50)), rng.choice([0, 1, 2, 4, 5, 255], (40, 50))) for _ in range(5)
    ]
    records = []
    for index, (_, truth) in enumerate(pairs):
        path = tmp_path / f"{index}.png"
        Image.fromarray(truth.astype(np.uint8)).save(path)
        records.append({"file_name": str(index), "sem_seg_file_name": str(path)})
    name = f"metrics-{tmp_path.name}"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=[str(k) for k in range(classes)], ignore_label=255)
    evaluator = SemSegEvaluator(name, distributed=False, output_dir=str(tmp_path))
    evaluator.reset()
    for record, (prediction, _) in zip(records, pairs, strict=True):
        scores = (
            torch.nn.functional.one_hot(torch.from_numpy(prediction), classes)
            .permute(2, 0, 1)
            .float()
        )
        evaluator.process([record], [{"sem_seg": scores}])
    theirs = evaluator.evaluate()["sem_seg"]
    ours = count(classes, pairs)
    assert 100 * m.mean_iou(ours) == pytest.approx(theirs["mIoU"], rel=1e-12)
    assert 100 * m.frequency_weighted_iou(ours) == pytest.approx(theirs["fwIoU"], rel=1e-12)
    assert 100 * m.mean_class_accuracy(ours) == pytest.approx(theirs["mACC"], rel=1e-12)
    assert 100 * m.pixel_accuracy(ours) == pytest.approx(theirs["pACC"], rel=1e-12)
    assert json.dumps(ours.counts.tolist())


TYPES = [torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("wrong", [4, 5, 7, 19, 254, -1, -4, 2**32 + 1, 2**31, -(2**32) + 2, 65535])
@pytest.mark.parametrize("where", ["prediction", "truth"])
def test_ids_that_are_no_class_are_refused(dtype, wrong, where):
    """Many would fall into a valid cell: 5 in the next row, 4 in that of ignored pixels, 2^32 + 1
    as 1."""
    bounds = torch.iinfo(dtype)
    if not bounds.min <= wrong <= bounds.max:
        pytest.skip("the type cannot hold this id")
    ids = {
        "prediction": torch.tensor([[0, 1, 2], [3, 2, 1]]),
        "truth": torch.tensor([[3, 1, 0], [1, 1, 2]]),
    }
    ids[where][1, 0] = wrong
    if bounds.min <= 255 <= bounds.max:
        ids["truth"][0, 0] = 255
    ids = {name: each.to(dtype) for name, each in ids.items()}
    with pytest.raises(InputError, match=rf"{where} holds the class id {wrong} .*0\.\.3"):
        ConfusionMatrix.of(ids["prediction"], ids["truth"], 4)


def test_the_ignored_id_is_no_prediction():
    with pytest.raises(InputError, match="prediction holds the class id 255"):
        ConfusionMatrix.of(torch.tensor([255]), torch.tensor([255]), 4)


@pytest.mark.parametrize(("classes", "ignore"), [(255, 255), (256, 65535), (2000, 65535)])
def test_wide_ids(classes, ignore):
    last = classes - 1
    truth = torch.tensor([0, last, last, ignore, 200])
    found = ConfusionMatrix.of(torch.tensor([last, last, 0, last, 200]), truth, classes).counts
    assert found.sum() == 4
    assert [found[0, last], found[last, last], found[last, 0], found[200, 200]] == [1, 1, 1, 1]
    for wrong in (classes + 1, 65534, 65536):
        with pytest.raises(InputError, match=f"truth holds the class id {wrong}"):
            ConfusionMatrix.of(torch.tensor([0]), torch.tensor([wrong]), classes)


def test_255_is_a_class_among_256_in_any_type():
    small = torch.tensor([255, 254], dtype=torch.uint8)
    assert ConfusionMatrix.of(small, small, 256).counts[255, 255] == 1


def test_cells_of_very_many_classes_do_not_overflow():
    """65534 · 40,000 is beyond int32; as a negative number it would be another error, or another
    cell."""
    with pytest.raises(InputError, match="truth holds the class id 65534"):
        ConfusionMatrix.of(torch.tensor([39_999]), torch.tensor([65534]), 40_000)


@pytest.mark.parametrize("dtype", [*TYPES, torch.uint16])
def test_every_integer_type_counts_alike_and_is_left_as_it_was(dtype):
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randint(0, 9, (40, 50), generator=generator)
    truth = torch.where(torch.rand(40, 50, generator=generator) < 0.2, 255, prediction.roll(3))
    expected = ConfusionMatrix.of(prediction, truth, 9).counts
    wanted = np.zeros((9, 9), np.int64)
    labelled = truth != 255
    np.add.at(wanted, (truth[labelled].numpy(), prediction[labelled].numpy()), 1)
    assert np.array_equal(expected, wanted)
    given = [prediction.to(dtype), truth.to(dtype)]
    before = [each.clone() for each in given]
    assert np.array_equal(ConfusionMatrix.of(*given, 9).counts, expected)
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))


def test_wrong_shapes_and_types():
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"\(2, 3\), truth \(3, 2\)"):
        ConfusionMatrix.of(ids, ids.T, 2)
    with pytest.raises(InputError, match="float32"):
        ConfusionMatrix.of(ids.float(), ids, 2)
    assert ConfusionMatrix.of(ids[:0], ids[:0], 2).counts.tolist() == [[0, 0], [0, 0]]
