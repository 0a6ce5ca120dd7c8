import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

from encoder_ablations.engine.training import checkpoints
from encoder_ablations.engine.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from encoder_ablations.utils.errors import InputError


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    save_checkpoint(
        path, {"model": {"a": torch.arange(3.0)}, "progress": {"step": 3, "loss": [0.1, None]}}
    )
    content = load_checkpoint(path)
    assert torch.equal(content["model"]["a"], torch.arange(3.0))
    assert content["progress"] == {"step": 3, "loss": [0.1, None]}


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    """Files of this process may not grow beyond 100 kB, as on a full disk."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    program = (
        "import sys, torch; from pathlib import Path\n"
        "from encoder_ablations.engine.training.checkpoints import save_checkpoint\n"
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
    with pytest.raises(InputError, match="schema version 99, this program reads 3"):
        load_checkpoint(tmp_path / "other.pt")


def flip_a_bit(path, tensor):
    """Change one bit of a tensor's bytes where they lie in the file."""
    content = bytearray(path.read_bytes())
    place = content.index(tensor.numpy().tobytes()) + 5
    content[place] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_one_flipped_bit_is_noticed(tmp_path, part):
    path = tmp_path / "last.pt"
    tensors = {"model": torch.arange(100.0), "optimizer": torch.arange(200.0, 300.0)}
    state = {
        "model": {"weight": tensors["model"]},
        "optimizer": {"state": {0: {"exp_avg": tensors["optimizer"]}}},
    }
    save_checkpoint(path, {"run_id": "mine", **state})
    load_checkpoint(path, "mine")
    flip_a_bit(path, tensors[part])
    with pytest.raises(
        CheckpointError, match=r"last\.pt is damaged.*wrong checksum.*delete the run's folder"
    ):
        load_checkpoint(path, "mine")


@pytest.mark.parametrize(
    "change", [{"step": 3}, {"model": {"b": torch.ones(2)}}, {"run_id": "mine"}, {"sha256": None}]
)
def test_what_was_changed_after_saving_is_noticed(tmp_path, change):
    path = tmp_path / "best.pt"
    save_checkpoint(path, {"run_id": "other", "model": {"a": torch.ones(2)}, "step": 2})
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(path, "mine")


def test_the_checkpoint_of_another_run_or_step_is_refused(tmp_path):
    path = tmp_path / "best.pt"
    save_checkpoint(path, {"run_id": "other", "step": 2})
    with pytest.raises(
        CheckpointError,
        match=r"best\.pt is a checkpoint of another run, other; this is the run mine",
    ):
        load_checkpoint(path, "mine")
    with pytest.raises(CheckpointError, match=r"step 2\b.*step 4\b"):
        load_checkpoint(path, "other", step=4)
    assert load_checkpoint(path, "other", step=2)["step"] == 2
    save_checkpoint(path, {"step": 2})
    with pytest.raises(CheckpointError, match="another run, None"):
        load_checkpoint(path, "mine")


def test_every_kind_of_value_keeps_its_digest(tmp_path):
    path = tmp_path / "last.pt"
    values = [
        torch.tensor(3),
        torch.empty(0),
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor([True, False]),
    ]
    values += [
        torch.arange(6.0).reshape(2, 3).T,
        torch.ones(1, 2, 4, 4).to(memory_format=torch.channels_last),
    ]
    plain = {"loss": [0.1, None, float("nan")], "betas": (0.9, 0.999), "empty": {}, 0: "text"}
    save_checkpoint(path, {"model": dict(enumerate(values)), "plain": plain})
    content = load_checkpoint(path)
    assert all(torch.equal(content["model"][key], value) for key, value in enumerate(values))
    assert content["plain"]["betas"] == (0.9, 0.999)


def test_threads_that_share_a_digest_do_not_change_it(monkeypatch):
    content = {"model": {str(number): torch.randn(9, number) for number in range(5)}, "step": 3}
    plain = checkpoints._digest(content)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(checkpoints, "WORTH_THREADS", 1)
    assert checkpoints._digest(content) == plain


def test_little_is_digested_without_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(checkpoints, "ThreadPoolExecutor", None)
    assert checkpoints._digest({"model": {"a": torch.ones(9)}})


class Payload:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save({"schema_version": 3, "model": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "evil.pt")
    assert "never" not in capsys.readouterr().out


def test_weights_that_do_not_fit(tmp_path):
    model = nn.Linear(3, 2)
    state = {"weight": torch.zeros(4, 3), "extra": torch.zeros(1)}
    with pytest.raises(InputError) as error:
        load_model(model, state, tmp_path / "best.pt")
    message = str(error.value)
    assert "it lacks bias" in message
    assert "the model has no extra" in message
    assert "weight 4×3 instead of 2×3" in message
