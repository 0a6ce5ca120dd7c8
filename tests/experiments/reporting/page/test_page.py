import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from markupsafe import Markup
from reports import write_report

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting import planned as plans
from encoder_ablations.experiments.reporting.figures.drawing import EmbeddedFigure
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.page import page
from encoder_ablations.experiments.reporting.page.grids import fractions_grid, mistakes
from encoder_ablations.experiments.reporting.page.terminal import terminal_ranking
from encoder_ablations.experiments.reporting.sentences import method
from encoder_ablations.experiments.reporting.sentences.training import training_sentences
from encoder_ablations.experiments.studies.known import Known
from encoder_ablations.utils.errors import InputError

VOID = {"meta", "img", "br", "link", "input", "hr", "circle", "line", "polygon"}


class Page(HTMLParser):
    """Collects what a page must not get wrong: nesting, ids, references, alternative texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.references, self.images, self.links, self.words = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert len(found) == len(attributes), f"an attribute stands twice in <{tag}>"
        if tag not in VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found.get("alt"))
        self.references += [
            found[name] for name in ("src", "href", "srcset", "action") if name in found
        ]
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or not found, "the one script lies in the page itself"

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script") and "svg" not in self.open:
            self.words.append(data)


@pytest.fixture
def report(factory, monkeypatch):
    """Writes records and reads their page, without the figures, which take most of the time."""
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})

    def write(*records):
        files = write_report(factory.write(list(records)))
        return Page(files.page.read_text(encoding="utf-8"))

    return write


def test_page_is_valid_offline_and_complete(realistic):
    files = write_report(realistic)
    source = files.page.read_text(encoding="utf-8")
    shown = Page(source)
    assert len(shown.ids) == len(set(shown.ids))
    within = [link[1:] for link in shown.links if link.startswith("#")]
    assert within
    assert set(within) <= set(shown.ids)
    # all other links lead to files of the runs, beside the page
    files_of_runs = [link for link in shown.links if not link.startswith("#")]
    assert files_of_runs
    assert all((realistic / unquote(link)).exists() for link in files_of_runs)
    others = set(shown.references) - set(files_of_runs)
    assert all(reference.startswith(("data:", "#")) for reference in others)
    assert "http://" not in source
    assert "https://" not in source
    assert "url(" not in source.replace("url(#", "")
    assert "@import" not in source
    assert shown.images
    assert all(shown.images)
    for path in [files.page, *files.tables, *files.figures]:
        assert path.stat().st_size > 0
    for heading in (
        "Ranking",
        "What it costs",
        "How fast does it learn?",
        "Class by class",
        "What is mistaken for what",
    ):
        assert heading in shown.text
    assert shown.text.index("How sure is that?") < shown.text.index("Ranking With")
    assert {p.name for p in realistic.iterdir()} == {
        "runs",
        "report.html",
        "runs.csv",
        "tables",
        "figures",
    }


def test_numbers_by_hand(factory, report):
    records = [
        factory.record("a", m, seed=s, latency=41.26) for s, m in enumerate([0.70, 0.72, 0.74])
    ]
    records += [
        factory.record("b", m, seed=s, gflops=5, train_seconds=65)
        for s, m in enumerate([0.65, 0.66, 0.70])
    ]
    shown = report(*records)
    assert (
        "a is the best encoder here, 5.0 points ahead of the next (95 % interval 2.5 to 7.5)."
        in shown.text
    )
    # mean ± t(0.975, 2) · s / √3: s = 0.02 -> 4.97 points; s = 0.02646 -> 6.57 points; the
    # differences 5, 6, 4 -> 2.48
    assert "1 a 72.0 ± 5.0 3 86.6 M 1.20 M 20.0 41.3 3 min 20 s" in shown.text
    assert "2 b 67.0 ± 6.6 3 −5.0 −7.5 to −2.5 86.6 M 1.20 M 5.00 30.0 1 min 05 s" in shown.text
    assert "crater 72.0 ± 5.0 67.0 ± 6.6" in shown.text
    assert "a 100 % 240 ± 99 8.5 ± 0.0 360 ± 0 17.0 ± 0.0 3" in shown.text


def test_two_seeds_are_shown_as_a_range_without_a_claim(factory, report):
    shown = report(
        *[
            factory.record(e, m + 0.01 * s, seed=s)
            for e, m in (("a", 0.9), ("b", 0.2))
            for s in (0, 1)
        ]
    )
    assert "a is ahead in this small sample; 2 seeds cannot show more than that." in shown.text
    assert "90.0–91.0" in shown.text
    assert "(range 90.0–91.0)" in shown.text
    results = shown.text[: shown.text.index("How it was measured")]
    assert not re.search(r"\d ± \d", results)
    assert "chance" not in results
    assert "best encoder" not in results


def test_names_are_escaped(factory):
    evil = "<b onload=x>&\"'</b>"
    records = [
        factory.record("a", 0.7, label=evil, classes=("<i>", "ok")),
        factory.record("b", 0.5, classes=("<i>", "ok")),
    ]
    records.append(
        factory.failure("a", seed=1, message="<script>alert(1)</script>", classes=("<i>", "ok"))
    )
    source = write_report(factory.write(records, "study & co")).page.read_text(encoding="utf-8")
    for bad in ("<b onload", "<i>", "<script>alert"):
        assert bad not in source
    assert source.count("<script") == 1
    shown = Page(source)
    assert evil in shown.text
    assert "RuntimeError: <script>alert(1)</script>" in shown.text


def test_failures_and_disclosures_name_their_runs(factory, report):
    note, other = "Selection and report share a split.", "Deterministic kernels were off."
    records = [
        factory.record(e, 0.5, seed=s, disclosures=[note] + [other] * (e == "a"))
        for e in "ab"
        for s in (0, 1)
    ]
    shown = report(*records, factory.failure("b", 0.5, 7, message="loss is NaN"))
    assert shown.text.count(note) == 1
    assert f"{note} (all runs)" in shown.text
    assert f"{other} Concerns 2 of 5 runs a, 100 %, seed 0 a, 100 %, seed 1" in shown.text
    assert "1 of 5 runs failed; no number on this page includes them. b, 50 %, seed 7" in shown.text
    assert "RuntimeError: loss is NaN" in shown.text


def test_only_failures_still_make_a_page(factory, report):
    shown = report(factory.failure("a"), factory.failure("b", message="disk full"))
    assert "No run has finished yet, so there is no answer." in shown.text
    assert "RuntimeError: disk full" in shown.text


def test_other_training_images_are_a_warning(factory, report):
    shown = report(factory.record("a", 0.7, sha="1" * 64), factory.record("b", 0.5, sha="2" * 64))
    assert "At 100 % not all encoders were trained on the same images (seed 0)" in shown.text


def test_even_runs_have_no_warning(factory, report):
    assert (
        "Before you use these numbers"
        not in report(factory.record("a", 0.7), factory.record("b", 0.5)).text
    )


def test_other_machines_are_a_warning(factory, report):
    environment = {**factory.environment(), "processor": "Other CPU"}
    shown = report(factory.record("a", 0.7), factory.record("b", 0.5, environment=environment))
    assert "timed on different machines" in shown.text
    assert "Other CPU (1 run)" in shown.text


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("val", "This dataset has no test images"),
        ("test", "was scored on the test images, which played no part in choosing it"),
        ("train", "a check that learning works, not a result"),
    ],
)
def test_selection_rule_is_said(factory, report, split, sentence):
    shown = report(
        factory.record("a", 0.7, report_split=split), factory.record("b", 0.5, report_split=split)
    )
    assert sentence in shown.text


def test_how_to_repeat(factory, report):
    shown = report(factory.record("a", 0.7), factory.record("b", 0.5))
    for command in (
        "git checkout 2b88a7600000000000000000000000000000abcd",
        "pip install -e . torch==2.15.0 timm==1.0.31",
        "ablate run mars.yaml",
        "ablate train --config",
        "ablate report",
    ):
        assert command in shown.text


def test_several_settings(factory, report):
    records = [
        factory.record(e, m, dataset=d)
        for e, m in (("a", 0.7), ("b", 0.5))
        for d in ("mars", "moon")
    ]
    shown = report(*records)
    assert len(shown.ids) == len(set(shown.ids))
    assert {"s1-ranking", "s2-ranking"} <= set(shown.ids)
    assert "mars · linear" in shown.text
    assert "moon · linear" in shown.text


def test_headlines_for_the_terminal(factory, monkeypatch):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    ahead = "a is ahead in this small sample; 1 seed cannot show more than that."
    first = [factory.record(encoder, miou) for encoder, miou in (("a", 0.7), ("b", 0.5))]
    scope = "head linear, 100 % of the training images (200), scored on the validation images"
    assert write_report(factory.write(first)).headlines == [f"{ahead} (mars, {scope})"]
    second = [
        factory.record(encoder, miou, dataset="moon") for encoder, miou in (("a", 0.7), ("b", 0.5))
    ]
    assert write_report(factory.write(second)).headlines == [
        f"{ahead} (mars, {scope})",
        f"{ahead} (moon, {scope})",
    ]


def test_metrics_that_do_not_exist_are_dashes(factory, report):
    nothing = factory.counted(factory.record("a", 0.7), np.zeros((3, 3), int))
    shown = report(nothing, factory.record("b", 0.5))
    assert "b reaches 50.0 % mIoU; no other encoder has a result" in shown.text


def test_bold_only_where_the_print_differs(factory):
    records = [factory.record("a", 0.70000, 0.5), factory.record("b", 0.70004, 0.5)]
    records += [factory.record("a", 0.70), factory.record("b", 0.71)]
    grid = fractions_grid(collect(factory.write(records)).settings[0], ["a", "b"])
    assert [[(cell.text, cell.best) for cell in cells] for _, cells in grid.rows] == [
        [("70.0", False), ("70.0", False)],
        [("70.0", False), ("71.0", True)],
    ]


def test_mistakes_are_ordered_and_never_right_answers(factory):
    matrix = [[80, 15, 5], [10, 90, 0], [40, 0, 60]]  # rows add up to 100: counts are percent
    record = factory.counted(factory.record("a"), matrix)
    grid = mistakes(collect(factory.write([record])).settings[0], ["a"])
    assert [(name, cells[0].text) for name, cells in grid.rows] == [
        ("boulder taken for background", "40.0"),
        ("background taken for crater", "15.0"),
        ("crater taken for background", "10.0"),
        ("background taken for boulder", "5.0"),
    ]


def test_what_pretraining_adds_opens_the_page(factory, report):
    values = {"pretrained": [0.70, 0.72, 0.74], "random": [0.65, 0.66, 0.70]}
    shown = report(
        *[
            factory.record("a", v, seed=s, weights=w)
            for w, vs in values.items()
            for s, v in enumerate(vs)
        ]
    )
    assert "Pretraining adds 5.0 points (95 % interval 2.5 to 7.5)." in shown.text
    # the lead of one network over its own random control is that same gain
    assert "best encoder" not in shown.text
    assert "What pretraining adds" in shown.text
    assert {"s1-pretraining", "s1-stability"} <= set(shown.ids)


def test_no_dotted_line_is_spoken_of_where_one_encoder_beats_all(factory, report, monkeypatch):
    monkeypatch.setattr(
        page,
        "draw_setting",
        lambda *_: {"cost": EmbeddedFigure("s1-cost", "x", Markup(""), "data:", 9)},
    )
    alone = report(factory.record("a", 0.8, gflops=5, latency=5), factory.record("b", 0.7))
    assert "dotted line" not in alone.text
    assert (
        "a needs no more computation than any other encoder and has the highest mean score; 1 seed"
        in alone.text
    )
    both = report(factory.record("a", 0.8, gflops=5, latency=5), factory.record("b", 0.9))
    assert "The dotted line joins the best choices" in both.text


def test_damaged_records_are_warnings(factory, report):
    folder = factory.write([factory.record("a", 0.7), factory.record("b", 0.5)])
    path = sorted(folder.glob("runs/b-*/record.json"))[0]
    path.write_text("{")
    shown = Page(write_report(folder).page.read_text(encoding="utf-8"))
    assert f"{path} is damaged" in shown.text


def test_no_records(tmp_path):
    with pytest.raises(InputError, match="no run records in"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_terminal_ranking(factory):
    records = [factory.record("long-name", m, seed=s) for s, m in enumerate([0.70, 0.72, 0.71])]
    records += [
        factory.record("b", 0.8, 0.5),
        factory.record("c", 0.6),
        factory.failure("c", seed=1),
    ]
    assert terminal_ranking(collect(factory.write(records)).groups).splitlines() == [
        "mars · linear",
        "  encoder    images  mIoU %  spread  n",
        "  long-name   100 %    71.0  ± 2.5   3",
        "  c           100 %    60.0          1 (1 failed)",
        "  b            50 %    80.0          1",
    ]


@pytest.mark.slow
def test_a_page_of_two_hundred_records_stays_small(factory):
    records = [
        factory.record(
            f"encoder-{number}", 0.4 + 0.03 * number + 0.05 * fraction + 0.01 * seed, fraction, seed
        )
        for number in range(10)
        for fraction in (0.05, 0.1, 0.5, 1.0)
        for seed in range(5)
    ]
    files = write_report(factory.write(records))
    assert files.page.stat().st_size < 5e6


def test_what_else_is_done_to_the_crops_is_said(factory):
    record = factory.record("a")
    augmentation = record.spec.recipe.augmentation.model_copy(
        update={"rotate": 10.0, "vertical_flip": 0.5}
    )
    recipe = record.spec.recipe.model_copy(update={"augmentation": augmentation, "pos_ratio": 0.25})
    changed = record.model_copy(update={"spec": record.spec.model_copy(update={"recipe": recipe})})
    text = " ".join(training_sentences(changed.spec))
    assert "Further transforms of the crops: rotate 10.0, vertical flip 0.5." in text
    assert "25% of the training samples show the object." in text
    assert "Further" not in " ".join(training_sentences(record.spec))


def test_a_run_of_detectron2_is_not_repeated_by_our_command(factory):
    record = factory.record("a")
    spec = record.spec.model_copy(update={"detectron2": {"VERSION": 2}})
    folder = factory.write([record.model_copy(update={"spec": spec, "run_id": spec.run_id})])
    assert not any(
        "ablate train --config" in command for _, command in method.commands(collect(folder))
    )


@pytest.mark.parametrize("where", ["render", "write_tables", "draw_setting"])
def test_an_old_report_stays_where_memory_runs_out(factory, monkeypatch, capsys, where):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    study = factory.write([factory.record()])
    written = write_report(study).page
    before = written.read_bytes()

    def refuse(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(page, where, refuse)
    assert main(["report", str(study)]) == 1
    _, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("stopped: the memory")
    assert written.read_bytes() == before
    assert not list(study.rglob(".*~*"))


def test_runs_and_versions_are_named(factory, report):
    shown = report(factory.record("a", 0.7), factory.failure("b"))
    assert "The runs were computed with encoder-ablations 0.1.0, PyTorch 2.15.0, timm" in shown.text
    runs = [link for link in shown.links if link.startswith("runs/")]
    assert any(link.endswith("/record.json") for link in runs)


def test_runs_without_a_folder_are_named(factory, monkeypatch):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    done, planned = factory.record("a", 0.7), factory.spec("b", 1.0, 3)
    study = factory.write([done])
    (study / "study.yaml").write_text("{}")
    monkeypatch.setattr(plans, "read_study", lambda _: None)
    monkeypatch.setattr(plans, "plan", lambda *_: [])
    monkeypatch.setattr(plans, "known_runs", lambda *_: Known([done.spec, planned]))
    shown = Page(write_report(study).page.read_text(encoding="utf-8"))
    assert f"1 run of the study has no folder, because nothing began it: {planned.run_id}" in (
        shown.text
    )
    assert f"{planned.run_id} (no folder)" in shown.text
