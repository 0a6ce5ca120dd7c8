"""Where nothing can be written or read, commands say so in one line, and looking still works."""

import errno
import os
import subprocess
import sys
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
    assert "1 not begun" in out
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Read-only file system" in lines[-1]
    assert len(lines) == 1


def refuse_from(patch, folder, name, kind):
    """Let nothing below ``folder`` be written from the moment that a file ``name`` is begun."""
    opened, calls = os.open, {"replace": os.replace, "unlink": os.unlink}
    begun = []

    def check(path):
        if begun and Path(path).absolute().is_relative_to(folder.absolute()):
            raise OSError(kind, os.strerror(kind), str(path))

    def refusing_open(path, flags, *rest, **options):
        if flags & WRITING:
            if Path(path).name.startswith(name):
                begun.append(path)
            check(path)
        return opened(path, flags, *rest, **options)

    def refusing(call):
        def refuse(path, *rest, **options):
            check(path)
            return call(path, *rest, **options)

        return refuse

    patch.setattr(os, "open", refusing_open)
    for call, function in calls.items():
        # a full disk lets files be deleted
        if call != "unlink" or kind == errno.EROFS:
            patch.setattr(os, call, refusing(function))


@pytest.mark.parametrize(
    ("kind", "name", "named"),
    [
        (errno.ENOSPC, "run.lock", "run.lock"),
        (errno.EROFS, ".config.yaml", "config.yaml"),
        (errno.EDQUOT, ".per_image.npz", "per_image.npz"),
        (errno.EROFS, ".record.json", "record.json"),
    ],
)
def test_a_place_that_takes_no_more_files_stops_a_run_that_goes_on_later(
    studies, monkeypatch, capsys, kind, name, named
):
    study = studies.write(encoders=[{"name": "test_resnet", "weights": "random", "channels": 32}])
    arguments = ["run", study, "--device", "cpu", "--output", "out"]
    with monkeypatch.context() as patch:
        refuse_from(patch, Path("out"), name, kind)
        assert main(arguments) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("error: cannot ")
    assert f"/{named}: {os.strerror(kind)}. " in last
    assert not list(Path("out").glob("runs/*/record.json"))
    assert main(arguments) == 0


def test_a_library_that_cannot_write_is_no_failure_of_the_run(studies, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "events.out")

    monkeypatch.setattr("encoder_ablations.engine.training.loop.Trainer._step", refuse)
    assert main(["run", studies.write(), "--device", "cpu", "--output", "out"]) == 2
    assert "Read-only file system" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(Path("out").glob("runs/*/record.json"))


def test_output_to_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "encoder_ablations", "keys"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == f"error: the output cannot be written: {os.strerror(errno.ENOSPC)}.\n"


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
