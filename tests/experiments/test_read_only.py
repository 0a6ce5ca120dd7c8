"""Where nothing can be written or read, commands say so in one line, and looking still works."""

import errno
import os
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import command, main
from encoder_ablations.experiments.workers.locks import is_held

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture
def read_only(monkeypatch):
    """Return a function after which the file system below a folder is mounted read-only."""
    opened = os.open

    def begin(folder):
        def refuse(path, flags, *rest, **options):
            if flags & WRITING and Path(path).absolute().is_relative_to(folder.absolute()):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return opened(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)

    return begin


def test_looking_at_a_lock_needs_no_writing(tmp_path, read_only):
    (tmp_path / "run.lock").touch()
    read_only(tmp_path)
    assert not is_held(tmp_path)


def test_a_read_only_study_is_looked_at_but_not_run(studies, read_only, capsys):
    study = studies.write()
    arguments = ["run", study, "--device", "cpu", "--output", "out"]
    assert main(arguments) == 0
    for record in Path("out").glob("runs/*dark*/record.json"):
        record.unlink()
        (record.parent / "run.lock").touch()
    read_only(Path("out"))
    capsys.readouterr()
    assert main(["status", "out"]) == 0
    out = capsys.readouterr().out
    assert "1 finished" in out
    assert "1 new" in out
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Read-only file system" in lines[-1]
    assert len(lines) == 1


@pytest.mark.parametrize("kind", [errno.EACCES, errno.EROFS])
def test_what_may_not_be_opened_is_one_line(kind, capsys):
    def run(_argv):
        raise OSError(kind, os.strerror(kind), "out/study.yaml")

    assert command(run, []) == 2
    assert capsys.readouterr().err == f"error: out/study.yaml: {os.strerror(kind)}.\n"


def test_a_record_that_may_not_be_read_leaves_the_others(studies, monkeypatch, capsys):
    """As in a folder of somebody else, which we may not enter."""
    assert main(["run", studies.write(), "--device", "cpu", "--output", "out"]) == 0
    read = Path.read_text
    stat = Path.stat

    def refuse(path):
        if path.name == "record.json" and "dark" in path.parent.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def refusing_read(path, *rest, **options):
        refuse(path)
        return read(path, *rest, **options)

    def refusing_stat(path, *rest, **options):
        refuse(path)
        return stat(path, *rest, **options)

    monkeypatch.setattr(Path, "read_text", refusing_read)
    monkeypatch.setattr(Path, "stat", refusing_stat)
    capsys.readouterr()
    main(["status", "out"])
    out = capsys.readouterr().out
    assert "cannot read out/runs/dark" in out
    assert "1 finished" in out
