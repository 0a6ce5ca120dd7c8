"""What killed writers leave is removed by the next writer, and nothing else is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encoder_ablations.utils.files import new_folder, replacing, write_text
from encoder_ablations.utils.leftovers import OLD_SECONDS, remove_leftovers, temporary_prefix

WRITE = """
import sys, time
from pathlib import Path
from encoder_ablations.utils.files import {0}
with {0}(Path(sys.argv[1])) as target:
    {1}
    print("writing", flush=True)
    time.sleep(60)
"""
FILE = WRITE.format("replacing", "target.write(b'half')")
FOLDER = WRITE.format("new_folder", "(target / 'half').touch()")


@pytest.fixture(autouse=True)
def _look_again():
    """Let this process look into a folder again, as a new one would."""
    remove_leftovers.cache_clear()


def killed_while_writing(program, path):
    """Return a killed writer, not yet asked how it ended, and the one temporary path it left."""
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    os.kill(writer.pid, signal.SIGKILL)
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
    writer.stdout.close()
    (left,) = path.parent.iterdir()
    return writer, left


@pytest.mark.parametrize("program", [FILE, FOLDER], ids=["file", "folder"])
def test_a_writer_removes_what_a_killed_one_left(program, tmp_path):
    writer, left = killed_while_writing(program, tmp_path / "last.pt")
    assert left.name.startswith(".last.pt")
    writer.wait()
    write_text(tmp_path / "last.pt", "whole")
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_dead_process_whose_parent_has_not_noticed_writes_no_more(tmp_path):
    """In containers the first process often never asks how its children ended."""
    writer, _ = killed_while_writing(FILE, tmp_path / "record.json")
    os.kill(writer.pid, 0)  # its number is still taken
    write_text(tmp_path / "record.json", "whole")
    writer.wait()
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_new_folder_removes_it_too(tmp_path):
    writer, _ = killed_while_writing(FILE, tmp_path / "tiles")
    writer.wait()
    with new_folder(tmp_path / "tiles"):
        pass
    assert os.listdir(tmp_path) == ["tiles"]


def test_who_still_writes_is_left_alone(tmp_path):
    with replacing(tmp_path / "x", "w") as file:
        file.write("first")
        remove_leftovers.cache_clear()
        write_text(tmp_path / "x", "second")
    assert (tmp_path / "x").read_text() == "first"


def test_what_another_machine_writes_is_left_until_it_is_old(tmp_path):
    young, old = (tmp_path / f".last.pt~elsewhere~{number}~abc" for number in (1, 2))
    for path in (young, old, tmp_path / ".last.pt", tmp_path / "notes~elsewhere~1~abc"):
        path.touch()
    past = time.time() - OLD_SECONDS - 60
    for path in tmp_path.iterdir():
        if path != young:
            os.utime(path, (past, past))
    write_text(tmp_path / "last.pt", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted(
        [young.name, ".last.pt", "notes~elsewhere~1~abc", "last.pt"]
    )


def test_names_say_who_writes():
    assert temporary_prefix(Path("out/last.pt")).startswith(".last.pt~")
    assert f"~{os.getpid()}~" in temporary_prefix(Path("out/last.pt"))
