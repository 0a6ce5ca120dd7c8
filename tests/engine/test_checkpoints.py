import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

from encoder_ablations.engine.checkpoints import load_checkpoint, load_model, save_checkpoint
from encoder_ablations.utils.errors import InputError


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(path, {"model": {"a": torch.arange(3.0)}, "progress": {"step": 3, "loss": [0.1, None]}})
    content = load_checkpoint(path)
    assert torch.equal(content["model"]["a"], torch.arange(3.0))
    assert content["progress"] == {"step": 3, "loss": [0.1, None]}


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    """Files of this process may not grow beyond 100 kB, as on a full disk."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    program = (
        "import sys, torch; from pathlib import Path\n"
        "from encoder_ablations.engine.checkpoints import save_checkpoint\n"
        "from encoder_ablations.utils.errors import InputError\n"
        "try:\n    save_checkpoint(Path(sys.argv[1]), {'model': {'a': torch.zeros(1_000_000)}})\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert f"cannot write {path}" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert load_checkpoint(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_what_is_not_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"there is no checkpoint .*gone\.pt"):
        load_checkpoint(tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pt is damaged"):
        load_checkpoint(tmp_path / "text.pt")
    save_checkpoint(tmp_path / "whole.pt", {"model": {"a": torch.zeros(1000)}})
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.pt is damaged"):
        load_checkpoint(tmp_path / "cut.pt")
    torch.save({"schema_version": 99}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="schema version 99, this program reads 1"):
        load_checkpoint(tmp_path / "other.pt")


class Payload:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save({"schema_version": 1, "model": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "evil.pt")
    assert "never" not in capsys.readouterr().out


def test_weights_that_do_not_fit(tmp_path):
    model = nn.Linear(3, 2)
    state = {"weight": torch.zeros(4, 3), "extra": torch.zeros(1)}
    with pytest.raises(InputError) as error:
        load_model(model, state, tmp_path / "best.pt")
    message = str(error.value)
    assert "bias is missing in the file" in message
    assert "extra is not in the model" in message
    assert "weight is (4, 3) in the file, (2, 3) in the model" in message
