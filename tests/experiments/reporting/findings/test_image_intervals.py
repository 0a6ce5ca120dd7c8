"""Per-image counts in the report: intervals that count the choice of images, and files that cannot
be used.
"""

import csv

import numpy as np
import pytest
from reports import write_report

from encoder_ablations.engine.evaluation import metrics
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.per_image import ImageCounts, PerImage, save_per_image
from encoder_ablations.experiments.reporting.findings import image_intervals
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling, caution
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.page import page
from encoder_ablations.experiments.reporting.sentences import zero_labels
from encoder_ablations.experiments.runs.record import PER_IMAGE


def write(factory, levels, images=40, seeds=3, spread=0.3, fraction=1.0):
    """A study whose runs have per-image counts; images differ in how hard they are, equally for
    all encoders.
    """
    random = np.random.default_rng(0)
    hard = random.normal(0, spread, images)
    records, kept = [], {}
    for encoder, level in levels.items():
        for seed in range(seeds):
            luck = random.normal(0, 0.02)
            found = 1 / (1 + np.exp(-(level + hard + luck)))
            matrices = np.array(
                [np.eye(3) * share + (1 - np.eye(3)) * (1 - share) / 2 for share in found]
            )
            matrices = np.round(matrices * 1e4).astype(int)
            total = ConfusionMatrix(matrices.sum(axis=0))
            record = factory.record(
                encoder,
                metrics.mean_iou(total),
                seed=seed,
                report_split="test",
                fraction=fraction,
            )
            records.append(factory.counted(record, total.counts))
            counts = [ImageCounts.of(f"i{n}", ConfusionMatrix(m)) for n, m in enumerate(matrices)]
            kept[record.run_id] = PerImage.of(counts, 3)
    folder = factory.write(records)
    for run_id, images_of in kept.items():
        save_per_image(images_of, folder / "runs" / run_id / PER_IMAGE, run_id)
    return folder


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})


def test_images_widen_the_interval_and_pairing_narrows_it(factory):
    study = collect(write(factory, {"a": 1.6, "b": 1.4}))
    resampling = Resampling(study)
    a, b = study.groups
    low, high = resampling.interval(a)
    assert low < a.score.low < a.score.high < high
    apart = resampling.difference(a, b)
    assert 0 < apart[0] < a.score.mean - b.score.mean < apart[1]
    assert apart[1] - apart[0] < high - low
    assert resampling.problems == []


def test_shown_in_page_and_tables(factory, plain):
    folder = write(factory, {"a": 1.6, "b": 1.4})
    files = write_report(folder)
    source = " ".join(files.page.read_text().replace("\u00a0", " ").split())
    assert "With other<br>images" in source
    assert "Resampling the test images does not change the order" in source
    study = collect(folder)
    low, high = Resampling(study).interval(study.groups[0])
    assert f"{100 * low:.1f}–{100 * high:.1f}" in source
    rows = list(csv.DictReader((folder / "tables" / "ranking.csv").open()))
    assert rows[0]["low with other images (%)"] == f"{100 * low:.2f}"


def test_equal_encoders_may_change_places_with_other_images(factory, plain):
    source = write_report(write(factory, {"a": 1.5, "b": 1.5})).page.read_text()
    assert "With other test images the order could change" in " ".join(source.split())


def test_no_counts_no_such_interval(factory, plain):
    folder = write(factory, {"a": 1.6, "b": 1.4})
    for path in folder.glob(f"runs/*/{PER_IMAGE}"):
        path.unlink()
    source = write_report(folder).page.read_text()
    assert "With other<br>images" not in source


def test_two_seeds_make_no_claim_about_images(factory, plain):
    source = write_report(write(factory, {"a": 1.6, "b": 1.4}, seeds=2)).page.read_text()
    assert "With other<br>images" not in source
    assert "the test images does not" not in source


def test_damaged_counts_are_named_and_the_report_goes_on(factory, plain):
    folder = write(factory, {"a": 1.6, "b": 1.4})
    path = sorted(folder.glob(f"runs/*/{PER_IMAGE}"))[0]
    path.write_bytes(b"nothing")
    files = write_report(folder)
    (line,) = files.problems
    assert str(path) in line
    assert "delete it to report without intervals over images" in line
    assert str(path) in files.page.read_text()


def test_scenes_are_resampled_whole(factory):
    folder = write(factory, {"a": 1.6})
    study = collect(folder)
    (group,) = study.groups
    dataset = group.runs[0].spec.dataset.model_copy(
        update={"scene_pattern": r"^(i\d)"}
    )  # i0, i1 … i9: ten scenes
    spec = group.runs[0].spec.model_copy(update={"dataset": dataset})
    scenes = type(group)(
        **{**vars(group), "runs": tuple(r.model_copy(update={"spec": spec}) for r in group.runs)}
    )
    by_image, by_scene = Resampling(study).interval(group), Resampling(study).interval(scenes)
    assert by_image != by_scene


def test_classes_in_few_test_images_are_named(factory, plain):
    """Boulders are true in two of 40 images only; without counts of the images nothing is said."""
    random = np.random.default_rng(0)
    records, kept = [], {}
    for seed in range(3):
        matrices = random.integers(1, 50, (40, 3, 3)) + np.diag([300, 200, 100])
        matrices[2:, 2] = 0
        total = ConfusionMatrix(matrices.sum(axis=0))
        record = factory.record("a", metrics.mean_iou(total), seed=seed, report_split="test")
        records.append(factory.counted(record, total.counts))
        kept[record.run_id] = PerImage.of(
            [ImageCounts.of(f"i{n}", ConfusionMatrix(m)) for n, m in enumerate(matrices)], 3
        )
    folder = factory.write(records)
    for run_id, images in kept.items():
        save_per_image(images, folder / "runs" / run_id / PER_IMAGE, run_id)
    study = collect(folder)
    assert Resampling(study).few(study.groups) == {"boulder": 2}
    source = " ".join(write_report(folder).page.read_text().split())
    assert "These classes occur in fewer than 3 test images or scenes: boulder (2)." in source
    common = write_report(write(factory, {"a": 1.6, "b": 1.4})).page.read_text()
    assert "occur in fewer than" not in common


def test_of_runs_with_the_same_images_one_is_read_for_rare_classes(factory, monkeypatch):
    study = collect(write(factory, {"a": 1.6, "b": 1.4}))
    read = []
    load = image_intervals.load_per_image
    monkeypatch.setattr(
        image_intervals,
        "load_per_image",
        lambda path, *rest: read.append(path) or load(path, *rest),
    )
    assert Resampling(study).few(study.groups) == {}
    assert len(read) == 1


def test_many_rare_classes_are_counted():
    assert caution({f"c{n}": 1 for n in range(8)}).startswith(
        "These classes occur in fewer than 3 test images or scenes: "
        "c0 (1), c1 (1), c2 (1), c3 (1), c4 (1) and 3 more."
    )
    assert caution({}) == ""


def test_without_labels_the_interval_is_over_images_alone(factory):
    study = collect(write(factory, {"a": 1.6, "b": 1.4}, seeds=1, fraction=0.0))
    resampling = Resampling(study)
    a, b = study.groups
    low, high = resampling.interval(a)
    assert low < a.score.mean < high
    apart = resampling.difference(a, b)
    assert 0 < apart[0] < a.score.mean - b.score.mean < apart[1]
    ranked = ranking(study.settings[0], 0.0)
    headline = zero_labels.headline(ranked, resampling)
    assert headline.startswith("a is best without labels")
    assert "seed" not in headline


def test_one_seed_with_labels_has_no_interval(factory):
    study = collect(write(factory, {"a": 1.6}, seeds=1))
    assert np.isnan(Resampling(study).interval(study.groups[0])).all()
