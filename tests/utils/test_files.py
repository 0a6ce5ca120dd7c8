import json
import os

import pytest

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable, replacing, write_json, write_text


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "first")

    def interrupted():
        with replacing(path, "w") as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_json_without_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}


def test_out_of_space(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    write_text(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*x: No space left on device"):
        write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to the folder"):
        ensure_writable(tmp_path / "file" / "below")
