"""``ablate status --watch``: what is shown while others compute a study, and when it ends."""

import os
import signal
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.folder import save_config
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.plan_table import Standing
from encoder_ablations.experiments.studies.saved_study import save_study
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.studies.watching import loop, report, terminal
from encoder_ablations.experiments.studies.watching.table import live_table
from encoder_ablations.experiments.workers.locks import holding
from encoder_ablations.experiments.workers.progress import ProgressFile
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.interrupts import Stopped


def runs_of(study):
    return locate(plan(load_study_spec(study)), Path("out"))


def fail(run):
    save_config(run.spec, run.folder)
    record_failure(run.spec, run.folder, ValueError("no images"), now(), "cpu")


@pytest.fixture
def between_looks(monkeypatch):
    """between_looks(*actions): what happens in each pause, in place of waiting."""

    def plan_pauses(*actions):
        left = iter(actions)
        monkeypatch.setattr(loop.time, "sleep", lambda seconds: next(left)())

    return plan_pauses


def test_the_table_changes_in_place_until_the_last_run_has_ended(
    studies, between_looks, monkeypatch, capsys
):
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    study = studies.write()
    first, second = runs_of(study)
    between_looks(lambda: fail(first), lambda: fail(second))
    assert main(["status", study, "--output", "out", "--watch"]) == 0
    screens = capsys.readouterr().out.split("\x1b[J")
    assert len(screens) == 3
    assert "2 not begun" in screens[0]
    assert screens[0].endswith("\x1b[5F"), "it goes up by the lines that it wrote"
    assert "1 failed, 1 not begun" in screens[1]
    assert "ValueError: no images" in screens[1]
    assert "2 runs: 2 failed" in screens[2]


def test_without_a_terminal_there_are_few_plain_lines(studies, between_looks, capsys):
    study = studies.write()
    first, second = runs_of(study)
    between_looks(lambda: None, lambda: fail(first), lambda: fail(second))
    assert main(["status", study, "--output", "out", "--watch"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    begun, ended = out.splitlines()
    assert "2 not begun" in begun
    assert "2 failed" in ended, "what came between was too soon"


def test_ctrl_c_leaves_quietly_and_other_signals_end(studies, between_looks, capsys):
    study = studies.write()
    between_looks(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert main(["status", study, "--output", "out", "--watch"]) == 0
    assert not capsys.readouterr().err

    def stop():
        raise Stopped(signal.SIGTERM)

    between_looks(stop)
    for command in (["status", study, "--output", "out"], ["report", "out"]):
        save_study(load_study_spec(study), Path("out"))
        between_looks(stop)
        assert main([*command, "--watch"]) == 128 + signal.SIGTERM
        err = capsys.readouterr().err
        assert err.endswith("stopped watching.\n")
        assert "begins anew" not in err


def test_runs_that_run_come_first_and_the_rest_is_counted(studies):
    runs = runs_of(studies.write(seeds=list(range(10))))
    fail(runs[3])
    with holding(runs[7].folder, 1.0):
        progress = ProgressFile(runs[7].folder, runs[7].spec.run_id, 40)
        progress(10, "loss 1.25")
        lines = live_table(Standing(runs_of("tiny.yaml")), 6, 200)
    assert len(lines) == 6
    header, running, failed, *_, rest = lines
    assert header.split()[-4:] == ["images", "seed", "progress", "left"]
    assert running.startswith("running")
    assert "10/40 loss 1.25" in running
    assert failed.startswith("failed")
    assert rest == "… and 16 not begun"


def test_eighty_columns_hold_every_line(studies, between_looks, monkeypatch, capsys):
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    long = {
        "name": "test_resnet",
        "weights": "random",
        "channels": 32,
        "label": "an_encoder_of_a_long_name",
    }
    other = long | {"label": "another_encoder_of_a_long_name"}
    tune = {"settings": {"optimizer.lr": [1e-4, 1e-3]}}
    study = studies.write(encoders=[long, other], tune=tune)

    def leave():
        raise KeyboardInterrupt

    between_looks(leave)
    assert main(["status", study, "--output", "out", "--watch"]) == 0
    screen = capsys.readouterr().out
    lines = screen.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-2:] == ["progress", "left"] for line in lines)
    assert "2 runs with chosen values follow." in " ".join(lines)


def test_a_failed_run_that_is_repeated_has_not_ended(studies):
    (run, _) = runs_of(studies.write())
    fail(run)
    with holding(run.folder, 1.0):
        assert not Standing(locate([run.spec], Path("out"))).has_ended([])
    standing = Standing(locate([run.spec], Path("out")))
    assert standing.has_ended([])
    assert not standing.has_ended(["more runs follow"])


REFRESH = '<meta http-equiv="refresh" content="1">'


def test_the_report_follows_a_study_and_its_last_page_rests(studies, between_looks, capsys):
    spec = load_study_spec(studies.write())
    save_study(spec, Path("out"))
    first, second = runs_of("tiny.yaml")
    pages = []

    def second_ends():
        pages.append(Path("out/report.html").read_text())
        fail(second)

    between_looks(lambda: fail(first), second_ends)
    assert main(["report", "out", "--watch", "--every", "1"]) == 0
    pages.append(Path("out/report.html").read_text())
    assert [REFRESH in page for page in pages] == [True, False]
    assert [page.count("ValueError: no images") > 0 for page in pages] == [True, True]
    told = capsys.readouterr()
    assert "2 runs: 1 failed, 1 not begun; report: out/report.html" in told.out
    first, *others = told.err.splitlines()
    assert first.startswith("watching out;")
    assert others == ["writing the report"] * 2


def test_a_report_is_written_again_only_when_records_change(studies, monkeypatch):
    first, second = runs_of(studies.write())
    clock, written = [0.0], []
    monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
    watched = report.WatchedReport(
        Path("out"),
        lambda: Located(runs_of("tiny.yaml")),
        30,
        lambda *given: written.append(given),
    )
    assert not watched.look()
    assert not written, "there is no record"
    fail(first)
    assert not watched.look()
    assert not watched.look()
    assert written == [(Path("out"), 30)]
    (first.folder / "record.json").unlink()
    fail(first)
    os.utime(first.folder / "record.json", (1, 1))
    assert not watched.look()
    assert len(written) == 1, "too soon"
    clock[0] = 31.0
    assert not watched.look()
    assert len(written) == 2
    fail(second)
    assert watched.look()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["out", "other", "--watch"], "one"),
        (["out", "--watch", "--every", "0"], "0"),
        (["out", "--every", "9"], "--watch"),
        (["out", "--watch"], "study.yaml"),
    ],
)
def test_what_report_cannot_watch(tmp_path, monkeypatch, capsys, arguments, word):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
