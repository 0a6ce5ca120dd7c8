"""A federation of one client is central training, to the bit; rounds are what they say."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_federation import (
    CONTENT,
    STEPS,
    THREE,
    Killed,
    killed_after,
    result,
    trained,
    trainer_of,
)
from tiny_training import model_of

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import (
    participants,
)
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.federated.exchange import Exchange
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.utils.errors import InputError


@pytest.fixture(scope="module")
def data(terrain):
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    return TrainingData(terrain, train, list(range(9)), val, [0, 1])


KEPT = {"rounds": 2, "local_optimizer": "keep"}
ONE_CLIENT = {
    "one round": {"rounds": 1},
    "optimiser kept": KEPT,
    "local BatchNorm": {**KEPT, "local_batch_norm": True},
    "fedprox": {"rounds": 1, "algorithm": {"kind": "fedprox", "mu": 0}},
    "fedavgm": {**KEPT, "algorithm": {"kind": "fedavgm", "momentum": 0}},
}


@pytest.fixture(scope="module")
def central(data, tmp_path_factory):
    return {
        every: result(_central(data, tmp_path_factory.mktemp("central"), every)) for every in (2, 4)
    }


def _central(data, folder, every):
    trainer = trainer_of(data, folder, None)
    trainer.recipe = trainer.recipe.model_copy(update={"evaluate_every": every})
    trainer.run()
    return trainer


@pytest.mark.parametrize("way", ONE_CLIENT)
def test_one_client_is_central_training(data, tmp_path, central, way, monkeypatch):
    every = 4 if ONE_CLIENT[way]["rounds"] == 1 else 2
    monkeypatch.setitem(CONTENT, "evaluate_every", every)
    one = trained(data, tmp_path, ONE_CLIENT[way], places=[list(range(9))])
    assert result(one) == central[every]


def test_an_optimiser_that_begins_anew_is_not_central_training(data, tmp_path, central):
    one = trained(data, tmp_path, {"rounds": 2}, places=[list(range(9))])
    assert result(one) != central[2]


class Backwards(FederatedCourse):
    """Computes the clients of a round in another order."""

    def __init__(self, *args):
        super().__init__(*args)
        waiting = self.rounds.waiting
        self.rounds.waiting = lambda: waiting()[::-1]


ALL = {"rounds": 2, "local_optimizer": "keep", "local_batch_norm": True}
WAYS = {
    "fedavg": {"rounds": 2},
    "all": {**ALL, "algorithm": {"kind": "fedavgm"}},
    "fedprox": {"rounds": 2, "algorithm": {"kind": "fedprox", "mu": 0.5}},
    "fedadam": {"rounds": 2, "share": 0.7, "algorithm": {"kind": "fedadam"}},
}


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {way: result(trained(data, folder / way, WAYS[way])) for way in WAYS}


def test_the_ways_differ(undisturbed):
    assert len({weights for weights, _ in undisturbed.values()}) == len(WAYS)


@pytest.mark.parametrize("way", ["all", "fedprox"])
def test_the_order_of_clients_changes_nothing(data, tmp_path, undisturbed, way):
    backwards = trained(data, tmp_path, WAYS[way], kind=Backwards)
    assert result(backwards) == undisturbed[way]


@pytest.mark.parametrize("way", ["all", "fedadam"])
@pytest.mark.parametrize("stop_at", [3, 8, 11])
def test_killed_and_resumed_same_bits(data, tmp_path, monkeypatch, undisturbed, way, stop_at):
    monkeypatch.setattr(
        "encoder_ablations.engine.training.checkpointing.saving.CHECKPOINT_SECONDS", -1
    )
    first = trainer_of(data, tmp_path, WAYS[way])
    if way == "all" or stop_at <= 8:  # two of three clients take part in a round of "fedadam"
        with pytest.raises(Killed):
            first.run(killed_after(stop_at))
    second = trainer_of(data, tmp_path, WAYS[way])
    second.run()
    assert result(second) == undisturbed[way]


def test_an_interrupted_client_is_repeated(data, tmp_path, undisturbed):
    first = trainer_of(data, tmp_path, WAYS["all"])

    def interrupt(_step, _status):
        first.agreement.interrupt.number = 2

    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt)
    assert first.progress.step == 0
    second = trainer_of(data, tmp_path, WAYS["all"])
    second.run()
    assert result(second) == undisturbed["all"]


class Failing(FederatedCourse):
    """The client 1 fails in the first round, after a step that has changed the weights."""

    def train(self, loop, advance):
        def step(batches, seed):
            loss = loop.step(batches, seed)
            if seed == self.rounds.clients[1].seed and self.rounds.number == 0:
                raise FloatingPointError("the loss is nan\nat client 1")
            return loss

        super().train(replace(loop, step=step), advance)


class Without(FederatedCourse):
    """The client 1 is not asked in the first round."""

    def __init__(self, *args):
        super().__init__(*args)
        rounds = self.rounds
        everyone = rounds.participants
        rounds.participants = lambda: everyone() if rounds.number else [0, 2]


def test_a_client_that_fails_is_left_out_of_its_round(data, tmp_path):
    failing = trained(data, tmp_path / "failing", WAYS["all"], kind=Failing)
    without = trained(data, tmp_path / "without", WAYS["all"], kind=Without)
    assert result(failing) == result(without)
    [failure] = failing.course.rounds.failures
    assert (failure["round"], failure["client"]) == (0, 1)
    assert failure["error"] == "FloatingPointError: the loss is nan at client 1"
    first, second = failing.course.rounds.losses[1]
    assert first is None
    assert second > 0
    assert failing.course.rounds.bytes_up[0] * 3 == failing.course.rounds.bytes_up[1] * 2
    assert failing.course.rounds.bytes_down[0] == failing.course.rounds.bytes_up[1]


class AllFail(FederatedCourse):
    def train(self, loop, advance):
        def step(_batches, seed):
            raise InputError(f"no image for {seed}")

        super().train(replace(loop, step=step), advance)


def test_a_round_without_any_client_ends_the_training(data, tmp_path):
    with pytest.raises(InputError, match="no image"):
        trained(data, tmp_path, WAYS["fedavg"], kind=AllFail)


def test_global_model_is_the_mean_by_images_of_clients_trained_alone(data, tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENT, "evaluate_every", 4)
    federated = trained(data, tmp_path / "all", {"rounds": 1})
    alone = []
    for number, places in enumerate(THREE):
        trainer = trainer_of(replace(data, train_indices=places), tmp_path / str(number), None)
        trainer.seed = federated.course.rounds.clients[number].seed
        trainer.run()
        alone.append(copy.deepcopy(trainer.segmenter.state_dict()))
    for name, value in federated.segmenter.state_dict().items():
        if value.is_floating_point():
            pairs = zip(THREE, alone, strict=True)
            mean = sum(len(own) / 9 * state[name].double() for own, state in pairs)
            assert torch.equal(value, mean.float()), name
    losses = [losses[0] for losses in federated.course.rounds.losses]
    mean = sum(len(own) / 9 * loss for own, loss in zip(THREE, losses, strict=True))
    assert sum(federated.progress.loss) / STEPS == pytest.approx(mean)


def test_fedprox_draws_a_client_to_the_global_model(data, tmp_path):
    trainer = trainer_of(data, tmp_path, WAYS["fedprox"])
    rounds = trainer.course.rounds
    rounds.begin(rounds.global_model, rounds.own(0))
    weight = trainer.segmenter.head.classify.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 2
    weight.grad = torch.full_like(weight, 0.25)
    seen = []
    trainer.optimizer.register_step_pre_hook(lambda *_: seen.append(weight.grad.clone()))
    trainer.step.update()
    # mu · (w - w_global) on top of the gradient
    assert torch.allclose(seen[0], torch.full_like(weight, 0.25 + 0.5 * 2), atol=1e-5)
    rounds.begin(rounds.global_model, rounds.own(1))
    assert torch.equal(weight, before)


def test_local_batch_norms_stay_with_the_clients(data, tmp_path):
    trainer = trained(data, tmp_path, {"rounds": 2, "local_batch_norm": True})
    assert set(trainer.course.rounds.local) == {0, 1, 2}
    names = set(trainer.course.rounds.exchange.local)
    assert "head.norm.running_mean" in names
    assert "head.norm.weight" in names
    assert names.isdisjoint(trainer.course.rounds.exchange.shared)
    means = [trainer.course.rounds.local[each]["head.norm.running_mean"] for each in range(3)]
    assert not torch.equal(means[0], means[1])
    expected = sum(len(own) / 9 * mean.double() for own, mean in zip(THREE, means, strict=True))
    assert torch.equal(trainer.segmenter.head.norm.running_mean, expected.float())


def test_only_what_learns_is_exchanged(data, tmp_path):
    trainer = trained(data, tmp_path, {"rounds": 2}, frozen="body")
    head = model_of().head
    # the counter of BatchNorm has 8 bytes, all else is float32
    floats = sum(value.numel() for value in head.state_dict().values()) - 1
    assert trainer.course.rounds.bytes_up == [3 * (4 * floats + 8)] * 2
    assert all(name.startswith("head.") for name in trainer.course.rounds.exchange.shared)


def test_local_batch_norm_needs_one():
    model = model_of("body")
    model.head.norm = torch.nn.GroupNorm(1, 8)
    with pytest.raises(InputError, match="local_batch_norm"):
        Exchange.of(model, local_batch_norm=True)


def test_a_share_of_the_clients_is_drawn_for_each_round():
    spec = FederationSpec(clients=10, rounds=20, share=0.3)
    drawn = [participants(spec, 0, number) for number in range(20)]
    assert {len(each) for each in drawn} == {3}
    assert all(each == sorted(set(each)) for each in drawn)
    assert {client for each in drawn for client in each} == set(range(10))
    assert drawn != [participants(spec, 1, number) for number in range(20)]
    assert participants(FederationSpec(clients=3, rounds=1, share=0.01), 0, 0) != []
