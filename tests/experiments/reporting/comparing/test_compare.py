"""Two studies side by side: pairs, intervals, what differs, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy
from browser import BROWSER, browse

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.per_image import ImageCounts, PerImage, save_per_image
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.comparing.comparison import compare
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs.record import PER_IMAGE
from encoder_ablations.experiments.stats.unpaired import unpaired_interval

CUT = """
const card = document.querySelector(".scroll").getBoundingClientRect();
const cells = [...document.querySelectorAll("td, th")];
const cut = cells.filter((cell) => cell.getBoundingClientRect().right > card.right);
parent.postMessage(JSON.stringify(cut.map((cell) => cell.textContent)), "*");
"""
"""Posts the cells that do not lie in their card."""
NOISE = (0.01, -0.02, 0.015, 0.0)


def study(factory, name, level, seeds=(0, 1, 2), encoder="vit-a", **options):
    records = [
        factory.record(encoder, level + NOISE[seed % 4], seed=seed, **options) for seed in seeds
    ]
    return factory.write(records, name)


def rows_of(first, second):
    comparison = compare(collect(first), collect(second))
    return comparison, [
        dict(zip(comparison.table.header, row, strict=True)) for row in comparison.table.rows
    ]


def test_the_same_seeds_are_paired(factory):
    first = study(factory, "first", 0.6)
    second = study(factory, "second", 0.64, steps=800)
    comparison, (row,) = rows_of(first, second)
    assert row["difference"] == "+4.0"
    # seed by seed the difference is the same: only pairing can see that
    assert row["95 % interval"] == "+4.0 to +4.0"
    assert row["how"] == "paired, 3 seeds"
    assert "recipe.steps 400 → 800" in comparison.parts["settings that differ in shared arms"]


TUNED = {
    "role": "report",
    "values": {"optimizer.lr": 0.1},
    "chosen_by": {"settings": {"optimizer.lr": [0.1, 0.2]}},
}


def test_tuned_arms_are_compared_with_tuned_ones_and_others_with_others(factory):
    first = study(factory, "first", 0.6)
    study(factory, "first", 0.7, tuning=TUNED)
    second = study(factory, "second", 0.64)
    comparison, (row,) = rows_of(first, second)
    assert (row["arm"], row["difference"]) == ("vit-a · linear · mars · 100 %", "+4.0")
    assert comparison.parts["only in the first"] == ["vit-a · linear · mars · 100 % · tuned"]
    study(factory, "second", 0.75, tuning=TUNED)
    _, rows = rows_of(first, second)
    assert sorted(row["difference"] for row in rows) == ["+4.0", "+5.0"]


def test_a_tuned_arm_and_an_untuned_one_are_not_compared(factory, capsys):
    first = study(factory, "first", 0.6)
    second = study(factory, "second", 0.64, tuning=TUNED)
    assert main(["compare", str(first), str(second)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "both tuned or both not" in line
    assert "the second has vit-a · linear · mars · 100 % · tuned." in line


def test_arms_of_several_settings_are_named_where_nothing_else_is_shared(factory, capsys):
    first = study(factory, "first", 0.6)
    study(factory, "first", 0.7, steps=800)
    second = study(factory, "second", 0.64)
    assert main(["compare", str(first), str(second)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "with several settings: vit-a · linear · mars · 100 %." in line


def test_other_seeds_are_not_paired_and_this_is_said(factory):
    first = study(factory, "first", 0.6)
    second = study(factory, "second", 0.64, seeds=(4, 5, 6))
    _, (row,) = rows_of(first, second)
    assert row["how"] == "unpaired, 3 and 3 seeds"
    low, high = row["95 % interval"].replace("−", "-").split(" to ")
    assert float(low) < 0 < 4 < float(high)


def test_two_shared_seeds_have_no_interval(factory):
    first, second = (study(factory, name, 0.6, seeds=(0, 1)) for name in ("first", "second"))
    _, (row,) = rows_of(first, second)
    assert row["95 % interval"] == "–"
    assert "too few" in row["how"]


def test_a_difference_over_fewer_seeds_than_the_means_says_so(factory):
    first = study(factory, "first", 0.6)
    second = study(factory, "second", 0.64, seeds=(0, 1))
    _, (row,) = rows_of(first, second)
    assert row["first, mIoU %"].endswith(", 3 seeds")
    assert row["second, mIoU %"].endswith(", 2 seeds")
    assert row["how"] == "paired, 2 seeds that both have: too few for an interval"


def test_welch_is_scipys():
    first, second = [0.61, 0.66, 0.58, 0.63], [0.7, 0.71, 0.69]
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert unpaired_interval(first, second) == pytest.approx(tuple(expected))
    assert np.isnan(unpaired_interval(first[:2], second)).all()


def counted_study(factory, name, gain, images=30, moved=0):
    """Runs whose counts of every image are stored; ``moved`` pixels have another truth."""
    random = np.random.default_rng(0)
    records, kept = [], {}
    for seed in range(3):
        found = []
        for number in range(images):
            gained = gain * random.uniform(0, 2)
            hits = int(np.clip(500 + gained + 100 * random.normal() + seed, 0, 1000))
            truth = 1000 + moved * (number == 0)
            matrix = np.array([[hits, truth - hits, 0], [200, 800, 0], [0, 100, 900]], np.int64)
            found.append(ImageCounts.of(f"image {number}", ConfusionMatrix(matrix)))
        counts = PerImage.of(found, 3)
        record = factory.record("vit-a", seed=seed, steps=400 + gain)
        record = factory.counted(record, counts.total().counts)
        records.append(record)
        kept[record.run_id] = counts
    folder = factory.write(records, name)
    for run_id, counts in kept.items():
        save_per_image(counts, folder / "runs" / run_id / PER_IMAGE, run_id)
    return folder


def test_the_interval_covers_the_test_images_too(factory):
    first, second = counted_study(factory, "first", 0), counted_study(factory, "second", 50)
    _, (row,) = rows_of(first, second)
    assert row["how"] == "paired, 3 seeds and the test images"
    low, high = row["95 % interval"].replace("−", "-").split(" to ")
    assert 0 < float(low) < float(row["difference"]) < float(high)


def with_other_files(folder):
    """The studies as they are read, where that in ``folder`` has files of its own."""
    study = collect(folder)
    for group in study.groups:
        for run in group.runs:
            changed = run.data.model_copy(update={"dataset_sha256": "0" * 64, "n_train": 7})
            object.__setattr__(run, "data", changed)
    return study


def test_other_training_images_are_compared_and_named(factory):
    first, second = counted_study(factory, "first", 0), counted_study(factory, "second", 50)
    comparison = compare(collect(first), with_other_files(second))
    assert len(comparison.table.rows) == 1
    assert any("files are not the same" in line for line in comparison.parts["data"])
    assert any("7 training images" in line for line in comparison.parts["data"])


def test_other_test_images_are_refused(factory):
    first = counted_study(factory, "first", 0)
    second = counted_study(factory, "second", 50, moved=1)
    with pytest.raises(ValueError, match="other images in the val split"):
        compare(collect(first), with_other_files(second))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ("background", "crater", "rock")}, "other classes"),
        ({"report_split": "test"}, "other splits"),
        ({"encoder": "clip-base"}, "share no arm"),
    ],
)
def test_what_must_not_be_compared_is_refused_in_one_line(factory, capsys, options, words):
    first, second = study(factory, "first", 0.6), study(factory, "second", 0.6, **options)
    assert main(["compare", str(first), str(second)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_the_command_prints_and_writes_a_page(factory, capsys, tmp_path):
    first = study(factory, "first", 0.6)
    versions = factory.environment() | {"threads": 8}
    second = study(factory, "second", 0.64, environment=versions)
    factory.write([factory.record("clip-base", 0.5)], "second")
    page = tmp_path / "comparison.html"
    assert main(["compare", str(first), str(second), "-o", str(page)]) == 0
    out = capsys.readouterr().out
    assert "vit-a · linear · mars · 100 %" in out
    assert "threads 2 → 8" in out
    assert "only in the second:\n  clip-base" in out
    assert "+4.0 to +4.0" in Path(page).read_text()
    assert out.splitlines()[:2] == [f"first: {first}", f"second: {second}"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
@pytest.mark.parametrize("width", [500, 1200])
def test_nothing_of_the_page_is_cut(factory, tmp_path, width):
    long = "a_vision_encoder_with_quite_a_long_name"
    first = study(factory, "first", 0.6, encoder=long, seeds=(0, 1))
    second = study(factory, "second", 0.64, encoder=long, seeds=(0, 1))
    page = tmp_path / "page.html"
    page.write_text(compare(collect(first), collect(second)).page())
    assert browse(page, tmp_path, width, CUT) == []


def test_a_study_and_itself_are_refused(factory, capsys):
    folder = str(study(factory, "first", 0.6))
    assert main(["compare", folder, folder]) == 2
    assert "same study" in capsys.readouterr().err
