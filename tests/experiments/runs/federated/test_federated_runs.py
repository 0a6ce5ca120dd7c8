"""Federated runs through their records: clients, rounds, bytes, and what readers must know."""

import pytest

from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.workers.preflight import find_problems
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

ENCODER = {
    "name": "test_resnet",
    "weights": "random",
    "channels": 32,
    "freeze": "body",
    "batch_norm": "estimate",
}
RECIPE = {"steps": 4, "batch_size": 2, "evaluate_every": 2, "augmentation": {"crop": [64, 64]}}
FEDERATION = {"clients": 3, "rounds": 2, "partition": {"dirichlet": 1.0}}


def spec_of(terrain, federation, **changes):
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": terrain}
    return RunSpec.model_validate({**parts, "recipe": RECIPE, "federation": federation, **changes})


@pytest.fixture(scope="module")
def record_of(terrain, tmp_path_factory):
    runs, found = tmp_path_factory.mktemp("runs"), {}

    def record_of(federation, fraction=0.5):
        spec = spec_of(terrain, federation, fraction=fraction)
        if spec.run_id not in found:
            record = execute_run(spec, runs / spec.run_id, Execution("cpu"))
            assert record.status == "finished", record.error
            found[spec.run_id] = load_record(runs / spec.run_id)
        return found[spec.run_id]

    return record_of


def test_a_run_without_clients_is_what_it_was(terrain, record_of):
    central = spec_of(terrain, None)
    assert "federation" not in central.model_dump(mode="json")
    record = record_of(None)
    assert "federation" not in record.model_dump(mode="json")


def test_the_record_tells_clients_rounds_and_bytes(record_of):
    record = record_of(FEDERATION)
    found = record.federation
    assert sum(client.images for client in found.clients) == record.data.n_train == 12
    pixels = zip(*(client.class_pixels for client in found.clients), strict=True)
    assert [sum(each) for each in pixels] == record.data.class_pixels
    assert [len(client.loss) for client in found.clients] == [2, 2, 2]
    assert found.steps_per_round == 2
    # the frozen body is not sent: neck and head alone
    assert found.bytes_up == found.bytes_down
    sent = 4 * record.cost.parameters["trainable"]
    assert sent <= found.bytes_up[0] / 3 <= 1.2 * sent
    last = [client.loss[-1] for client in found.clients]
    assert found.worst_client == last.index(max(last))
    assert record.curves.val_steps == [2, 4]
    assert record.convergence.epochs == pytest.approx(4 * 2 * 3 / 12)
    told = " ".join(record.disclosures)
    for words in ("fedavg 3 clients dirichlet 1 2 rounds", "all clients together"):
        assert words in told


def test_the_record_says_that_clients_are_protected(terrain, tmp_path):
    pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")
    spec = protected(terrain)
    record = execute_run(spec, tmp_path / spec.run_id, Execution("cpu"))
    assert record.status == "finished", record.error
    found = load_record(tmp_path / spec.run_id).federation
    assert len(found.epsilon) == 2
    assert found.epsilon == record.curves.epsilon
    spent = found.privacy
    assert (spent.epsilon, spent.steps, spent.rate) == (found.epsilon[1], 2, 1.0)
    assert "3 clients" in spent.protected
    assert "removing one client" in spent.protected
    told = " ".join(record.disclosures)
    assert f"epsilon {spent.epsilon:.3g}" in told
    assert "private-clients-noise2" in spec.run_id
    assert any("1 / 3 clients" in each for each in record.disclosures)


def protected(terrain, head=None, encoder=None, **privacy):
    given = {"noise": 2.0, "delta": 0.5, "accountant": "rdp"} | privacy
    changes = {
        "segmenter": head or {"name": "linear", "norm": "group"},
        "encoder": ENCODER | {"batch_norm": "keep"} | (encoder or {}),
    }
    return spec_of(terrain, {**FEDERATION, "privacy": given}, **changes)


def test_what_cannot_be_protected_is_found_before_the_first_run(terrain, capsys):
    pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")
    loss = {"cross_entropy": {"weight": 1, "class_weights": "balanced"}}
    cases = [
        (protected(terrain), None),
        (protected(terrain, {"name": "linear"}), "BatchNorm"),
        (protected(terrain, encoder={"batch_norm": "estimate"}), "estimate"),
        (protected(terrain, {"name": "linear", "norm": "group", "loss": loss}), "balanced"),
        (protected(terrain, epsilon=3), "gives epsilon"),
    ]
    problems = find_problems([spec for spec, _ in cases], Execution("cpu"))
    for spec, words in cases:
        assert (words or "") in problems.get(spec.run_id, "")
        assert (words is None) == (spec.run_id not in problems)
    assert "1 / 3 clients" in capsys.readouterr().err


def test_protection_changes_no_other_id(terrain):
    assert "privacy" not in spec_of(terrain, FEDERATION).model_dump(mode="json")["federation"]


def test_one_client_has_the_metrics_of_central_training(record_of):
    one = record_of({"clients": 1, "rounds": 2, "local_optimizer": "keep"})
    central = record_of(None)
    assert one.confusion_matrix == central.confusion_matrix
    assert one.curves == central.curves


def test_a_client_alone_learns_from_its_own_images(record_of):
    federated = record_of(FEDERATION).federation
    local = {"clients": 3, "partition": {"dirichlet": 1.0}}
    record = record_of({**local, "algorithm": {"kind": "local", "client": 1}})
    client = federated.clients[1]
    assert record.data.n_train == client.images
    assert record.data.class_pixels == client.class_pixels
    assert record.data.train_ids_sha256 == client.ids_sha256
    assert record.federation.partition_sha256 == federated.partition_sha256
    assert record.federation.bytes_up == []
    assert "Client 1 of 3 trained alone" in " ".join(record.disclosures)


def test_what_cannot_be_federated_is_found_before_the_first_run(terrain):
    """Also where central runs, or another seed, can be computed."""
    dealt = {"clients": 20, "rounds": 2, "partition": {"dirichlet": 5.0}}
    group = {"name": "linear", "norm": "group"}
    cases = [
        (spec_of(terrain, None), None),
        (spec_of(terrain, {"clients": 2, "partition": "scenes", "rounds": 2}), "scene_pattern"),
        (spec_of(terrain, {"clients": 30, "rounds": 2}), "24 training images"),
        (spec_of(terrain, {"clients": 2, "rounds": 2}), None),
        (spec_of(terrain, dealt), "dirichlet 5"),
        (
            spec_of(terrain, {**FEDERATION, "local_batch_norm": True}, segmenter=group),
            "local_batch_norm",
        ),
    ]
    problems = find_problems([spec for spec, _ in cases], Execution("cpu"))
    for spec, words in cases:
        assert (words or "") in problems.get(spec.run_id, "")
        assert (words is None) == (spec.run_id not in problems)


def test_detectron2_has_no_clients(terrain):
    with pytest.raises(ValueError, match="Detectron2"):
        spec_of(terrain, FEDERATION, detectron2={})


def test_several_processes_cannot_share_the_clients():
    federation = FederationSpec(clients=2, rounds=2)
    federation.check_processes(1)
    with pytest.raises(InputError, match="2 processes"):
        federation.check_processes(2)


@pytest.mark.parametrize(
    ("settings", "recipe", "words"),
    [
        ({"rounds": 3}, {}, "3 rounds.*steps 4"),
        ({"rounds": 2, "local_steps": 4}, {}, "2 rounds of 4.*steps 4"),
        ({"rounds": 1}, {"evaluate_every": 2}, "evaluate_every 2.*4 local_steps"),
        ({"rounds": 2}, {"average": {"kind": "ema"}}, "average ema"),
        ({"rounds": 2}, {"privacy": {"epsilon": 3, "delta": 1e-5}}, "privacy"),
        ({"rounds": 2}, {"overfit": 2}, "overfit 2"),
        ({}, {}, "rounds is missing"),
        ({"algorithm": "local", "rounds": 2}, {}, "rounds means nothing"),
        ({"algorithm": "local"}, {}, "needs the client"),
        ({"algorithm": {"kind": "local", "client": 3}}, {}, "client 3 .* 0..2"),
        ({"rounds": 2, "algorithm": "fedsgd"}, {}, "fedavg"),
        ({"rounds": 2, "share": 0}, {}, "share"),
    ],
    ids=str,
)
def test_impossible_settings(terrain, settings, recipe, words):
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": terrain}
    federation = {"clients": 3, **settings}
    with pytest.raises(InputError, match=words) as error:
        build(RunSpec, {**parts, "recipe": {**RECIPE, **recipe}, "federation": federation}, "x")
    assert "\n" not in str(error.value)
