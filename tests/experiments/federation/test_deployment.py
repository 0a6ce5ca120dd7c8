"""Server and clients with their own folders, in one process: what they do is the simulation."""

import json
from threading import Lock

import numpy as np
import pytest
import torch
from divided_images import ENCODER, at, divide_images, federated_spec

from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.training.federated.exchange import Exchange
from encoder_ablations.engine.training.federated.remote import ClientLost
from encoder_ablations.experiments.federation.client import FederatedClient
from encoder_ablations.experiments.federation.limits import check_deployable
from encoder_ablations.experiments.federation.members import Members
from encoder_ablations.experiments.federation.messages import (
    Introduction,
    Report,
    TensorFacts,
    fingerprint_of,
    to_state,
)
from encoder_ablations.experiments.federation.server import serve
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.utils.errors import CannotContinue, InputError

CPU = Execution("cpu", keep_last=True)
TURNS = Lock()
"""Clients in one process share its random numbers, so that they train one after the other."""


class Wire:
    """A connection to a client in the same process; it can be cut."""

    def __init__(self, client):
        self.client, self.rounds, self.cut_in_round = client, [], None

    def ask(self, kind, content):
        with TURNS:
            return self.client.answer(kind, content)

    def train(self, arrays, content):
        number = json.loads(content)["round"]
        if number == self.cut_in_round:
            raise ClientLost("the line is cut")
        self.rounds.append(number)
        # what comes out of a message cannot be written to
        for array in arrays:
            array.flags.writeable = False
        with TURNS:
            return self.client.train(arrays, content)

    def dismiss(self, kind, reason):
        self.ask(kind, reason)


@pytest.fixture(scope="module")
def folders(terrain, tmp_path_factory):
    target = tmp_path_factory.mktemp("divided")
    divide_images(federated_spec(terrain), target)
    return target


def client_of(spec, folders, number):
    return FederatedClient(
        at(spec, folders / str(number)), number, CPU, make_accelerator("cpu"), list
    )


def members_of(spec, wires, told=None):
    tell = (told if told is not None else []).append
    return Members(spec.federation.clients, fingerprint_of(spec), lambda: wires, tell)


def deployed(spec, folders, folder, wires=None, told=None):
    """Return the record and the last global model of a run whose clients have their own folders."""
    if wires is None:
        wires = {str(number): Wire(client_of(spec, folders, number)) for number in (1, 0)}
    members = members_of(spec, wires, told)
    members.wait()
    record = serve(
        at(spec, folders / "server"),
        folder,
        Execution("cpu", keep_last=True),
        members,
        lambda *_: None,
    )
    assert record.status == "finished", record.error
    return record, weights(folder)


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.pt")["model"]


def simulated(spec, folder):
    record = execute_run(spec, folder, CPU)
    assert record.status == "finished", record.error
    return record, weights(folder)


BALANCED = {"name": "linear", "loss": {"cross_entropy": {"class_weights": "balanced"}}}
WAYS = {
    "fedprox": {"federation": {"algorithm": {"kind": "fedprox", "mu": 0.5}}},
    "fedadam, kept, balanced": {
        "federation": {"algorithm": {"kind": "fedadam"}, "local_optimizer": "keep"},
        "segmenter": BALANCED,
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_clients_with_their_own_folders_are_the_simulated_ones(terrain, folders, tmp_path, way):
    spec = federated_spec(terrain, **WAYS[way])
    there, expected = simulated(spec, tmp_path / "simulated")
    here, found = deployed(spec, folders, tmp_path / "deployed")
    check_equal(expected, found)
    assert here.curves == there.curves
    assert here.confusion_matrix == there.confusion_matrix
    assert here.class_weights == there.class_weights
    assert here.federation == there.federation.model_copy(update={"deployed": True})
    for key in ("n_train", "class_pixels", "n_val", "n_test"):
        assert getattr(here.data, key) == getattr(there.data, key)
    told = " ".join(here.disclosures)
    assert "processes of their own" in told
    assert "simulated" not in told
    assert ("told the server" in told) == ("balanced" in way)


def check_equal(expected, found):
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []


@pytest.fixture(scope="module")
def undisturbed(terrain, tmp_path_factory):
    """The weights of the simulated run of :func:`federated_spec`."""
    return simulated(federated_spec(terrain), tmp_path_factory.mktemp("undisturbed"))[1]


def test_the_round_goes_on_without_a_lost_client(terrain, folders, tmp_path):
    spec = federated_spec(terrain)
    wires = {str(number): Wire(client_of(spec, folders, number)) for number in (0, 1)}
    wires["1"].cut_in_round = 0
    told = []
    record, _ = deployed(spec, folders, tmp_path, wires, told)
    [failure] = record.federation.failures
    assert (failure.round, failure.client) == (0, 1)
    assert "cut" in failure.error
    assert record.federation.clients[1].loss[0] is None
    assert record.federation.clients[1].loss[1] > 0
    first, second = record.federation.bytes_up
    assert 2 * first == second
    assert any("without client 1" in line for line in told)


def test_a_client_that_cannot_learn_is_left_out_and_stays(terrain, folders, tmp_path, monkeypatch):
    spec = federated_spec(terrain)
    wires = {str(number): Wire(client_of(spec, folders, number)) for number in (0, 1)}
    client = wires["0"].client
    train = FederatedClient.train

    def failing(arrays, content):
        if json.loads(content)["round"] == 0:
            # a mask that cannot be read any more
            return [], Report(round=0, error="InputError: no mask").model_dump_json()
        return train(client, arrays, content)

    monkeypatch.setattr(client, "train", failing)
    record, _ = deployed(spec, folders, tmp_path, wires)
    [failure] = record.federation.failures
    assert "no mask" in failure.error
    assert wires["0"].rounds == [0, 1]


def test_without_any_client_the_run_ends_and_goes_on_later(terrain, folders, tmp_path, undisturbed):
    spec = federated_spec(terrain)
    wires = {str(number): Wire(client_of(spec, folders, number)) for number in (0, 1)}
    for wire in wires.values():
        wire.cut_in_round = 1
    with pytest.raises(CannotContinue, match="cut"):
        deployed(spec, folders, tmp_path / "ended", wires)
    record, found = deployed(spec, folders, tmp_path / "ended")
    check_equal(undisturbed, found)
    assert record.federation.failures == []


class Rejoining(dict):
    """Client 1 has gone after the first round, and comes again as another process."""

    def __init__(self, wires, again):
        super().__init__(wires)
        self.again, self.looks = again, 0

    def copy_now(self):
        self.looks += 1
        if self.looks == 3:
            del self["1"]
            self["again"] = self.again
        return dict(self)


def test_a_client_that_comes_again_takes_part_again(terrain, folders, tmp_path, undisturbed):
    spec = federated_spec(terrain)
    wires = {str(number): Wire(client_of(spec, folders, number)) for number in (0, 1)}
    again = Wire(client_of(spec, folders, 1))
    connected = Rejoining(wires, again).copy_now
    members = Members(2, fingerprint_of(spec), connected, list)
    members.wait()
    record = serve(at(spec, folders / "server"), tmp_path, CPU, members, lambda *_: None)
    assert record.federation.failures == []
    assert (wires["1"].rounds, again.rounds) == ([0], [1])
    check_equal(undisturbed, weights(tmp_path))


def refused(wires, spec):
    """Return why the server sends clients away."""
    told = []
    members_of(spec, wires, told).admit()
    return [line for line in told if "sent away" in line]


def test_who_does_not_belong_is_sent_away(terrain, folders):
    spec = federated_spec(terrain)
    other = federated_spec(terrain, seed=1)
    stranger = client_of(other, folders, 0)
    [line] = refused({"a": Wire(stranger)}, spec)
    assert "different runs" in line
    assert "\n" not in line
    assert "different runs" in stranger.refusal
    twin = client_of(spec, folders, 0)
    [line] = refused({"a": Wire(client_of(spec, folders, 0)), "b": Wire(twin)}, spec)
    assert "client 0 already" in line
    assert "client 0 already" in twin.refusal


def test_other_models_are_refused(terrain, folders):
    spec = federated_spec(terrain, encoder={**ENCODER, "freeze": "body"})
    client = client_of(spec, folders, 0)
    members = members_of(spec, {"0": Wire(client), "1": Wire(client_of(spec, folders, 1))})
    members.wait()
    model = build_model(spec, [1, 1, 1])
    shared = Exchange.of(model, local_batch_norm=False).shared
    members.agree(model, shared)
    with pytest.raises(InputError, match=f"client 0: .*{shared[0]}"):
        members.agree(model, shared[1:])
    assert shared[0] in client.refusal
    with torch.no_grad():
        next(model.encoder.body.parameters()).add_(1)
    with pytest.raises(InputError, match="weights that are not trained"):
        members.agree(model, shared)


LAYOUT = [TensorFacts(name="w", shape=[2, 3], dtype="float32")]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([], "0 tensors"),
        ([np.zeros((3, 2), np.float32)], r"w .*\[3, 2\].*\[2, 3\]"),
        ([np.zeros((2, 3))], "w .*float64"),
    ],
    ids=["number", "shape", "type"],
)
def test_arrays_that_are_not_the_model_are_refused(arrays, words):
    with pytest.raises(InputError, match=words):
        to_state(arrays, LAYOUT)


def test_arrays_become_tensors_of_their_own():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    array.flags.writeable = False
    state = to_state([array], LAYOUT)
    state["w"] += 1
    assert array[0, 0] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation": None}, "no federation"),
        ({"federation": {"clients": 2, "algorithm": {"kind": "local", "client": 0}}}, "no federa"),
        ({"fraction": 0.5}, "fraction 0.5"),
        ({"federation": {"clients": 2, "rounds": 2, "local_batch_norm": True}}, "local_batch_norm"),
    ],
    ids=str,
)
def test_what_no_single_machine_can_do_is_refused(terrain, changes, words):
    spec = federated_spec(terrain).model_validate(
        {**federated_spec(terrain).model_dump(), **changes}
    )
    with pytest.raises(InputError, match=words):
        check_deployable(spec)


def test_only_the_folder_may_differ(terrain):
    spec = federated_spec(terrain)
    assert fingerprint_of(spec) == fingerprint_of(at(spec, "elsewhere"))
    assert fingerprint_of(spec) != fingerprint_of(federated_spec(terrain, seed=1))


def test_a_client_reads_another_versions_question(terrain, folders):
    client = client_of(federated_spec(terrain), folders, 0)
    reply = json.loads(client.answer("introduce", '{"other": 1}'))
    assert "version" in reply["refused"]
    assert Introduction(spec_sha256="x").model_dump_json() == '{"spec_sha256":"x"}'
