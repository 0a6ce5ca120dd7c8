"""Where caches lie, and when what they hold is out of date."""

import os
import tempfile
from pathlib import Path

from encoder_ablations.utils import cache_folder as module
from encoder_ablations.utils.cache_folder import cache_folder, file_state


def test_xdg_cache_home_moves_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("scans") == tmp_path / "encoder_ablations" / "scans"


def test_a_user_without_home_gets_a_temporary_folder(monkeypatch):
    monkeypatch.setattr(
        module, "user_cache_path", lambda *_, **__: Path("~/.cache/encoder_ablations")
    )
    assert cache_folder("scans") == Path(tempfile.gettempdir()) / "encoder_ablations" / "scans"


def test_a_file_s_state_changes_with_size_and_time(tmp_path):
    path = tmp_path / "file"
    path.write_text("abc")
    states = [file_state(path)]
    os.utime(path, ns=(0, 1))
    states.append(file_state(path))
    path.write_text("abcd")
    os.utime(path, ns=(0, 1))
    states.append(file_state(path))
    assert len(set(states)) == 3
