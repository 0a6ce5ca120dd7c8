"""Published scores beside ours: in the page, the terminal, the tables and JSON, with the
difference and who says so.
"""

import csv
import io

import pytest
import yaml
from reports import write_report

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.page import page, study_results
from encoder_ablations.experiments.reporting.page.tables import ranking_table
from encoder_ablations.experiments.reporting.page.terminal import terminal_ranking

STUDY = {
    "name": "known",
    "encoders": [
        {"name": "vit_ti16", "label": "vit-a"},
        {"name": "vit_ti16", "label": "vit-b", "channels": 64},
    ],
    "segmenters": ["linear"],
    "datasets": ["mars_terrain"],
}
FIRST = {
    "encoder": "vit-a",
    "segmenter": "linear",
    "dataset": "mars",
    "miou": 74.5,
    "source": "Doe & Roe, 2024",
}


@pytest.fixture
def write(factory, monkeypatch):
    """A study with three runs of vit-a (72.0 ± 5.0), one of vit-b (60.0), and the given published
    scores.
    """
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})

    def write(published):
        records = [factory.record("vit-a", m, seed=s) for s, m in enumerate([0.70, 0.72, 0.74])]
        folder = factory.write([*records, factory.record("vit-b", 0.6)])
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | {"published": published}))
        return folder

    return write


def table_of(study):
    return ranking_table(study, Resampling(study))


def text_of(files):
    return " ".join(files.page.read_text(encoding="utf-8").replace("\u00a0", " ").split())


def test_the_page_shows_score_difference_interval_and_source(write):
    files = write_report(
        write([FIRST, FIRST | {"encoder": "vit-b", "miou": 60, "source": "Poe, 2025"}])
    )
    shown = text_of(files)
    assert '<span>74.5<sup>1</sup></span><span class="second">−2.5 ± 5.0</span>' in shown
    assert '<span>60.0<sup>2</sup></span><span class="second">0.0</span>' in shown, (
        "one seed has no interval"
    )
    assert "<li>Doe &amp; Roe, 2024</li><li>Poe, 2025</li></ol>" in shown
    assert files.problems == []


def test_without_published_scores_there_is_no_column(write):
    files = write_report(write([]))
    assert "Published" not in text_of(files)
    assert "published" not in files.ranking
    assert "published (%)" not in table_of(collect(files.page.parent)).header


def test_the_terminal_and_the_tables(write):
    study = collect(write([FIRST]))
    assert terminal_ranking(study.groups).splitlines() == [
        "mars · linear",
        "  encoder  images  mIoU %  spread  n  published %  difference",
        "  vit-a     100 %    72.0  ± 5.0   3     74.5 [1]  −2.5 ± 5.0",
        "  vit-b     100 %    60.0          1",
        "  [1] Doe & Roe, 2024",
    ]
    table = table_of(study)
    first, second = csv.DictReader(io.StringIO(table.csv()))
    names = ("published (%)", "difference (points)", "source")
    assert [first[name] for name in names] == ["74.5", "−2.5 ± 5.0", "Doe & Roe, 2024"]
    assert [second[name] for name in names] == ["", "", ""]
    assert r"74.5 & $-$2.5 $\pm$ 5.0 & Doe \& Roe, 2024 \\" in table.latex()
    a, b = sorted(study_results.as_json(study)["groups"], key=lambda group: group["encoder"])
    assert (a["published"], b["published"]) == (
        {"miou": pytest.approx(0.745), "source": "Doe & Roe, 2024"},
        None,
    )


def test_scores_of_another_place_are_not_ours(write, factory):
    other = [
        FIRST | {"dataset": "moon"},
        FIRST | {"segmenter": "mask2former"},
        FIRST | {"fraction": 0.5},
    ]
    assert all(group.published is None for group in collect(write(other)).groups)
    folder = write([FIRST])
    factory.write([factory.record("vit-a", 0.5, 0.5)])
    cited = {(group.encoder, group.fraction) for group in collect(folder).groups if group.published}
    assert cited == {("vit-a", 1.0)}


def test_a_damaged_study_file_is_a_problem_and_no_end(write):
    folder = write([FIRST])
    (folder / "study.yaml").write_text("name: [")
    files = write_report(folder)
    (problem,) = files.problems
    assert "study.yaml, line 1: not valid YAML" in problem
    assert problem.endswith("Published scores are not shown.")
    assert problem.split(":")[0] in text_of(files)
