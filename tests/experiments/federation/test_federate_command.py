"""``ablate federate`` without Flower: help, options, which run is meant, what is missing."""

import subprocess
import sys

import pytest
import yaml
from divided_images import federated_spec

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.federation import flower
from encoder_ablations.experiments.federation.chosen_run import chosen_run
from encoder_ablations.experiments.federation.connection import host_and_port
from encoder_ablations.utils.errors import InputError

HELP = """
import sys
from encoder_ablations.experiments.cli import main
for side in ("server", "client"):
    try:
        main(["federate", side, "--help"])
    except SystemExit as end:
        assert end.code == 0
assert not {"torch", "flwr"} & set(sys.modules)
"""


def test_help_of_both_sides_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--certificate" in done.stdout
    assert "--client" in done.stdout


def line_of(arguments, capsys):
    assert main(["federate", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_flower_the_message_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(flower, "find_spec", lambda name: None)
    line = line_of(["server", "run.yaml", "--insecure"], capsys)
    assert "pip install 'encoder-ablations[flower]'" in line
    assert "environment of its own" in line


CLIENT = ["client", "run.yaml", "--client", "0", "--data", ".", "--server"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sever"], "server"),
        (["server", "run.yaml"], "--insecure"),
        (["server", "run.yaml", "--key", "k", "--ca-certificate", "c"], "missing: --certificate"),
        (["server", "run.yaml", "--key", "k", "--insecure"], "exclude each other"),
        (["server", "run.yaml", "--insecure", "--address", "8080"], "HOST:PORT"),
        (["server", "run.yaml", "--insecure", "--round-timeout", "0"], "--round-timeout 0"),
        ([*CLIENT, "host:0", "--insecure"], "HOST:PORT"),
        ([*CLIENT, "host:1", "--insecure", "--wait", "-1"], "--wait -1"),
        ([*CLIENT, "host:1", "--insecure", "--ca-certificate", "setup.py"], "not a PEM"),
        ([*CLIENT, "host:1", "--ca-certificate", "no.pem"], "cannot read no.pem"),
    ],
    ids=str,
)
def test_options_that_cannot_be(arguments, words, capsys):
    if "setup.py" in arguments:
        arguments = [each.replace("setup.py", __file__) for each in arguments]
    assert words in line_of(arguments, capsys)


def test_addresses():
    assert host_and_port("localhost:8080", "--server") == ("localhost", 8080)
    assert host_and_port("[::1]:80", "--server") == ("::1", 80)
    for wrong in ("localhost", "http://host:80", "host:70000", "::1:80", ""):
        with pytest.raises(InputError, match="HOST:PORT"):
            host_and_port(wrong, "--server")


def test_the_run_of_a_config_and_of_a_study(terrain, tmp_path):
    spec = federated_spec(terrain)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    assert chosen_run(str(path), ["seed=3"], None).seed == 3
    moved = chosen_run(str(path), [], tmp_path)
    assert moved.dataset.folder == tmp_path
    with pytest.raises(InputError, match="no such folder"):
        chosen_run(str(path), [], tmp_path / "none")
    only = ["seeds=[0]", "encoders=[dinov2_s14]", "federation=[{clients: 2, rounds: 10}]"]
    one = chosen_run("camvid_federated", only, None)
    assert (one.federation.clients, one.seed) == (2, 0)
    with pytest.raises(InputError, match="federated runs"):
        chosen_run("camvid_federated", [], None)
    with pytest.raises(InputError, match="0 federated runs"):
        chosen_run("demo", [], None)
