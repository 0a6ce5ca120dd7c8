"""Progress where the output is no terminal: plain lines, not too many."""

import re
import sys
from pathlib import Path

import pytest

from encoder_ablations.utils import progress
from encoder_ablations.utils.progress import Bar, plain_line

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set: the seconds of it."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def work(bar, clock, count, seconds):
    for _ in range(count):
        clock[0] += seconds
        bar.update()
        bar.refresh()


def test_a_log_has_plain_lines(clock, capsys):
    with Bar(desc="reading masks", unit="mask", total=90) as bar:
        work(bar, clock, 90, 1.0)
        bar.write("a line between")
    captured = capsys.readouterr()
    assert "\r" not in captured.err + captured.out
    lines = captured.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("reading masks: 30 of 90 masks, 33%")
    assert captured.out == "a line between\n"


def test_what_is_left_behind_says_where_it_ended(clock, capsys):
    with Bar(unit="step", total=4, delay=0, leave=True) as bar:
        bar.set_postfix_str("loss 0.5")
        work(bar, clock, 3, 1.0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("3 of 4 steps, 75%")
    assert line.endswith("loss 0.5")


def test_the_end_is_not_said_twice(clock, capsys):
    with Bar(unit="step", total=2, delay=0, leave=True) as bar:
        work(bar, clock, 2, 40.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(lines))
    assert lines[-1].startswith("2 of 2 steps, 100%")


def test_titles_do_not_make_lines(clock, capsys):
    with Bar(unit="step", delay=0) as bar:
        for run in range(5):
            bar.set_description(f"run {run}")
    assert capsys.readouterr().err == ""


def test_a_hidden_bar_says_nothing(clock, capsys):
    with Bar(unit="step", total=9, delay=0, leave=True, disable=True) as bar:
        work(bar, clock, 9, 60.0)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Bar(desc="reading", total=2, delay=0) as bar:
        bar.update()
        bar.refresh()
    assert re.search(r"\rreading:  50%\|", capsys.readouterr().err)


def test_no_other_bars():
    folders = ("data", "encoders", "segmenters", "engine", "experiments")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in files if "tqdm" in path.read_text()]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0], ids=["back", "forward"])
def test_a_clock_that_is_set_does_not_spoil_the_times(clock, monkeypatch, jump):
    """Only the monotonic clock tells how long something takes."""
    wall = [1e9]
    monkeypatch.setattr("time.time", lambda: wall[0] + clock[0])
    monkeypatch.setattr("tqdm.std.time", lambda: wall[0] + clock[0])
    with Bar(desc="reading masks", unit="mask", total=90) as bar:
        work(bar, clock, 10, 1.0)
        wall[0] += jump
        work(bar, clock, 10, 1.0)
        assert bar.format_dict["elapsed"] == 20
        assert plain_line(bar) == "reading masks: 20 of 90 masks, 22%, about 1 min 10 s left"


def test_what_follows_the_last_step_is_said_at_once(clock, capsys):
    with Bar(unit="step", total=4, delay=0, leave=True) as bar:
        work(bar, clock, 4, 1.0)
        bar.tell("evaluating")
        (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("evaluating")
    assert "left" not in line
