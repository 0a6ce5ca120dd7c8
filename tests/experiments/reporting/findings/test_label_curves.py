"""The curve from no label on, with constructed records of which the answer is known."""

import re
from dataclasses import replace

import numpy as np
import pytest
from reports import write_report

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.per_image import ImageCounts, PerImage, save_per_image
from encoder_ablations.experiments.reporting.figures.charts.svg import chart
from encoder_ablations.experiments.reporting.figures.label_curves import label_figure, label_panel
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.labels.label_curves import label_curves
from encoder_ablations.experiments.reporting.findings.labels.label_tables import (
    labels_cost_table,
    labels_per_class_table,
    labels_table,
)
from encoder_ablations.experiments.reporting.sentences.label_curves import label_sentences
from encoder_ablations.experiments.runs.record import PER_IMAGE

RISING = {0.05: 0.2, 0.5: 0.4, 1.0: 0.6}
"""Fraction of 200 images -> mIoU."""


def write(factory, zero, rising=None, seeds=3, images=0):
    """A study of "text" without labels and "learner" with them; counts of ``images`` images."""
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.05, max(images, 1))
    wanted = [("text", 0.0, 0, zero)]
    for fraction, score in (rising or RISING).items():
        wanted += [("learner", fraction, seed, score) for seed in range(seeds)]
    records, kept = [], {}
    for encoder, fraction, seed, score in wanted:
        record = factory.record(encoder, score, fraction, seed, report_split="test")
        if not fraction:
            data = record.data.model_copy(update={"n_train": 0})
            record = record.model_copy(update={"data": data})
        if images:
            matrices = [_matrix(score + shift) for shift in hard]
            record = factory.counted(record, np.sum(matrices, axis=0))
            counts = [ImageCounts.of(f"i{n}", ConfusionMatrix(m)) for n, m in enumerate(matrices)]
            kept[record.run_id] = PerImage.of(counts, 3)
        records.append(record)
    folder = factory.write(records)
    for run_id, counts in kept.items():
        save_per_image(counts, folder / "runs" / run_id / PER_IMAGE, run_id)
    return folder


def _matrix(iou):
    """Counts of an image in which every class has about that IoU."""
    share = 2 * iou / (1 + iou)
    matrix = np.eye(3) * share + (1 - np.eye(3)) * (1 - share) / 2
    return np.round(1e4 * matrix).astype(int)


def curves_of(folder):
    study = collect(folder)
    resampling = Resampling(study)
    return label_curves(study.groups, resampling.scores, resampling.interval)


def sentences(folder):
    (curves,) = curves_of(folder)
    return label_sentences(curves)


def test_the_number_of_images_is_interpolated_in_the_logarithm(factory):
    # 0.3 lies half way between 10 and 100 images, which is 31.6
    without, labelled = sentences(write(factory, 0.3))
    assert "text" in without
    assert "30.0 %" in without
    assert "from 32 labelled images on" in labelled
    assert "seeds alone" in labelled


@pytest.mark.parametrize(
    ("zero", "told"), [(0.1, "fewer than the 10 images"), (0.9, "all 200 labelled images")]
)
def test_curves_that_never_cross_say_so(factory, zero, told):
    assert told in sentences(write(factory, zero))[1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_make_no_claim(factory, seeds):
    labelled = sentences(write(factory, 0.3, seeds=seeds))[1]
    assert "32" in labelled
    assert "single estimate" in labelled
    assert "95 %" not in labelled


def test_intervals_cover_the_images_where_these_were_counted(factory):
    without, labelled = sentences(write(factory, 0.3, images=40))
    assert "95 % interval over test images" in without
    assert "seeds and test images" in labelled


def columns(table):
    """Column -> its cells."""
    cells = zip(*table.rows, strict=True)
    return {name: list(column) for name, column in zip(table.header, cells, strict=True)}


SAME = "labelled images that score the same"


def test_tables_name_images_classes_and_cost(factory):
    curves = curves_of(write(factory, 0.3))
    assert columns(labels_table(curves))[SAME] == ["32"]
    per_class = columns(labels_per_class_table(curves))
    assert per_class["class"] == ["background", "crater", "boulder"]
    assert set(per_class[SAME]) == {"32"}
    assert columns(labels_cost_table(curves))["labelled images"] == ["0", "200"]


def test_answers_stand_before_the_long_names(factory):
    curves = curves_of(write(factory, 0.3))
    for table in (labels_table(curves), labels_per_class_table(curves)):
        header = table.only("mars").header
        assert header.index(SAME) <= 1
        assert header.index("with labels") > header.index(SAME) + 1
        # long names are read from the left, numbers from the right
        numeric = dict(zip(table.header, table.numeric, strict=True))
        assert (numeric["with labels"], numeric[SAME]) == (False, True)
        assert table.markdown().splitlines()[1].startswith("| --- |")


def test_classes_that_labels_never_match_are_named(factory):
    curves = curves_of(write(factory, 0.9))
    assert set(columns(labels_per_class_table(curves))[SAME]) == {"not reached with 200"}


def test_classes_that_nothing_finds_have_nothing_to_compare(factory):
    curves = curves_of(write(factory, 0.05, {0.05: 0.02, 1.0: 0.07}))
    found = columns(labels_per_class_table(curves))
    assert (found["without labels (%)"][2], found["with all (%)"][2]) == ("0.0", "0.0")
    assert (found[SAME][2], found["95 % interval over seeds"][2]) == ("–", "–")
    assert "–" not in found[SAME][:2]


def test_the_figure_shows_zero_beside_a_broken_axis(factory):
    (curves,) = curves_of(write(factory, 0.3, images=40))
    figure, alt = label_figure(curves)
    (axis,) = figure.axes
    assert [tick.get_text().split("\n")[0] for tick in axis.get_xticklabels()][:2] == ["0", "10"]
    assert "//" in [text.get_text() for text in axis.texts]
    zero = axis.lines[0]
    assert zero.get_xdata()[0] < 10
    assert zero.get_ydata()[0] == pytest.approx(30, abs=1)
    assert "% with 0 images" in alt


@pytest.mark.parametrize("images", [0, 40])
def test_the_chart_of_the_page_shows_what_its_caption_says(factory, images):
    (curves,) = curves_of(write(factory, 0.3, images=images))
    assert curves.interval_known == bool(images)
    second = replace(curves.without[0], title="another")
    intervals = {**curves.intervals, "another": curves.intervals[curves.without[0].title]}
    curves = replace(curves, arms=(*curves.arms[:1], second, *curves.arms[1:]), intervals=intervals)
    drawn = chart([label_panel(curves)], "")
    series = re.findall(r'<g class="drawn" style="--c:(#\w+)" data-name="([^"]*)">(.*?)</g>', drawn)
    assert len({color for color, _, _ in series}) == 3
    # a dotted line for each score without labels, on a band where its interval is known
    assert ['class="level"' in parts for _, _, parts in series] == [True, True, False]
    bands = [bool(images), bool(images), True]
    assert ['class="band"' in parts for _, _, parts in series] == bands
    texts = re.findall(r'<text class="middle"[^>]*>([^<]*)', drawn)
    assert texts[:4] == ["200", "100 %", "100", "50 %"]
    assert texts[-2:] == ["0", "no labels"]
    assert drawn.count('class="break"') == 1


def test_a_chart_with_nothing_at_zero_is_not_broken(factory):
    (curves,) = curves_of(write(factory, 0.3))
    labelled = replace(curves, arms=tuple(curves.labelled))
    drawn = chart([label_panel(labelled)], "")
    assert not re.search('class="(break|level)"', drawn)


def legend_of(curves, titles):
    """The drawn legend of a label figure whose arms have other titles, and its figure."""
    arms = [replace(arm, title=title) for arm, title in zip(curves.arms, titles, strict=True)]
    intervals = dict.fromkeys(titles, (np.nan, np.nan))
    figure, _ = label_figure(replace(curves, arms=tuple(arms), intervals=intervals))
    figure.draw_without_rendering()
    return figure, figure.legends[0]


@pytest.mark.parametrize("length", [5, 70, 300])
def test_the_legend_lies_within_the_figure(factory, length):
    (curves,) = curves_of(write(factory, 0.3))
    curves = replace(curves, arms=curves.arms * 2)
    figure, legend = legend_of(curves, [f"{n} " + "name " * (length // 5) for n in range(4)])
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    (axis,) = figure.axes
    # below the legend there is room to see the curves
    assert box.y0 >= axis.get_window_extent().y1
    assert axis.get_window_extent().height > 2.5 * figure.dpi


def test_the_page_has_the_part_where_a_head_needs_no_labels(factory):
    files = write_report(write(factory, 0.3))
    assert "How many labels are needed?" in files.page.read_text()
    assert all(path.exists() for path in files.figures)
    assert "d1-labels.png" in {path.name for path in files.figures}
    # said in the terminal, too
    assert "32 labelled images" in files.headlines[-1]


def test_other_studies_have_no_such_part(realistic):
    assert curves_of(realistic) == []
    assert "How many labels are needed?" not in write_report(realistic).page.read_text()
