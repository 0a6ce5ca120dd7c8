"""Protected clients: clipping, noise, the fixed denominator, ε, and what is refused."""

import math
from statistics import NormalDist

import pytest
import torch
from tiny_federation import CONTENT, THREE, Killed, killed_after, result, trained, trainer_of
from tiny_training import model_of

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import participants
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.federated.exchange import read
from encoder_ablations.engine.training.federated.private import (
    PrivateMean,
    clipped_update,
    large_client_delta,
)
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of
from encoder_ablations.utils.errors import InputError

pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")

PRIVACY = {"noise": 1.0, "clip": 0.05, "accountant": "rdp"}
FEDERATION = {"rounds": 2, "privacy": PRIVACY}


@pytest.fixture(scope="module")
def data(terrain):
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    return TrainingData(terrain, train, list(range(9)), val, [0, 1])


def grouped():
    """Return the tiny model with a frozen body and a GroupNorm, which has no statistics."""
    model = model_of("body")
    model.head.norm = torch.nn.GroupNorm(1, 8)
    return model


def trainer_with(data, folder, federation=FEDERATION, kind=FederatedCourse):
    return trainer_of(data, folder, federation, kind=kind, model=grouped())


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    trainer = trainer_with(data, tmp_path_factory.mktemp("whole"))
    trainer.run()
    return trainer


def spec_of(clients=3, rounds=2, **changes):
    privacy = PRIVACY | changes.pop("privacy", {})
    return FederationSpec(clients=clients, rounds=rounds, privacy=privacy, **changes)


def mean_of(spec, seed=0):
    return PrivateMean(spec.privacy, spec, seed)


def test_an_update_is_clipped_over_all_tensors_together():
    present = {"a": torch.zeros(2), "b": torch.ones(1)}
    clipped = clipped_update(present, {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([5.0])}, 1)
    assert clipped["a"].tolist() == pytest.approx([0.6, 0])
    assert clipped["b"].tolist() == pytest.approx([0.8])
    small = {"a": torch.tensor([0.1, 0.0]), "b": torch.ones(1)}
    assert torch.equal(clipped_update(present, small, 1)["a"], small["a"].double())
    unchanged = clipped_update(present, present, 1)
    assert not any(each.any() for each in unchanged.values())


def test_one_client_moves_the_sum_by_the_clip_at_most_and_denominator_and_noise_stay():
    spec = spec_of(clients=4, share=0.5, privacy={"clip": 2.0})
    present = {"w": torch.zeros(50)}
    models = {number: {"w": 100.0 * (torch.arange(50) + number)} for number in range(4)}
    everyone = mean_of(spec).of(present, models, 0)["w"]
    for gone in range(4):
        others = {number: model for number, model in models.items() if number != gone}
        change = everyone - mean_of(spec).of(present, others, 0)["w"]
        # clip / (q · N), whoever is missing
        assert float(change.norm()) == pytest.approx(2.0 / (0.5 * 4), rel=1e-5)
    assert torch.equal(everyone, mean_of(spec).of(present, dict(reversed(models.items())), 0)["w"])


def test_a_round_without_clients_is_the_noise_alone_and_every_round_has_its_own():
    spec = spec_of(clients=8, share=0.25, privacy={"noise": 3.0, "clip": 0.5})
    present = {"w": torch.full((20000,), 7.0)}
    first = mean_of(spec).of(present, {}, 0)["w"] - 7
    assert float(first.std()) == pytest.approx(3.0 * 0.5 / (0.25 * 8), rel=0.03)
    assert abs(float(first.mean())) < 0.02
    assert torch.equal(first, mean_of(spec).of(present, {}, 0)["w"] - 7)
    for other in (mean_of(spec).of(present, {}, 1), mean_of(spec, seed=1).of(present, {}, 0)):
        assert not torch.equal(first, other["w"] - 7)


def test_epsilon_of_one_round_of_all_clients_is_that_of_the_gaussian_mechanism():
    spec = spec_of(rounds=1, privacy={"noise": 2.0, "accountant": "prv"})
    found = mean_of(spec).epsilon(1)
    # Balle & Wang, ICML 2018, theorem 8, with sensitivity / σ = 1/2
    cdf = NormalDist().cdf
    delta = cdf(0.25 - 2 * found) - math.exp(found) * cdf(-0.25 - 2 * found)
    assert delta == pytest.approx(1e-5, rel=0.1)


def test_noise_is_solved_for_epsilon():
    privacy = {"noise": None, "epsilon": 8}
    mean = mean_of(spec_of(clients=10, rounds=5, share=0.3, privacy=privacy))
    assert 7.9 < mean.epsilon(5) <= 8
    assert mean.epsilon(5) == epsilon_of(Steps(mean.noise, 0.3, 5), 1e-5, "rdp")
    assert mean.epsilon(4) < mean.epsilon(5)


def test_clients_are_drawn_independently():
    spec = spec_of(clients=40, rounds=50, share=0.2)
    drawn = [participants(spec, 0, number) for number in range(50)]
    sizes = [len(each) for each in drawn]
    # Binomial(40, 0.2): mean 8, variance 6.4
    assert sum(sizes) / 50 == pytest.approx(8, abs=4 * math.sqrt(6.4 / 50))
    assert len(set(sizes)) > 3
    rare = spec_of(clients=2, rounds=50, share=0.01)
    assert [] in [participants(rare, 0, number) for number in range(50)]
    everyone = spec_of(clients=3)
    assert participants(everyone, 0, 0) == [0, 1, 2]


def test_the_global_model_is_the_noised_mean_of_what_clients_sent(data, tmp_path):
    trainer = trainer_with(data, tmp_path, FEDERATION | {"rounds": 1, "local_steps": 4})
    before = read(trainer.segmenter, trainer.course.rounds.exchange.shared)
    sent = {}
    accept = trainer.course.rounds.accept

    def watched(client, learnt):
        accept(client, learnt)
        sent[client.number] = trainer.course.rounds.done[client.number]["model"]

    trainer.course.rounds.accept = watched
    trainer.run()
    expected = trainer.course.rounds.private.of(before, sent, 0)
    after = read(trainer.segmenter, before)
    assert list(sent) == [0, 1, 2]
    assert all(torch.equal(after[name], expected[name]) for name in before)
    assert not any(torch.equal(after[name], before[name]) for name in before)


def test_rounds_in_which_nobody_is_drawn_are_rounds(data, tmp_path):
    trainer = trainer_with(data, tmp_path, FEDERATION | {"share": 1e-6})
    before = read(trainer.segmenter, trainer.course.rounds.exchange.shared)
    trainer.run()
    rounds = trainer.course.rounds
    private = PrivateMean(rounds.private.spec, rounds.federation, 0)
    expected = private.of(private.of(before, {}, 0), {}, 1)
    after = read(trainer.segmenter, before)
    assert all(torch.equal(after[name], expected[name]) for name in before)
    assert rounds.losses == [[None, None]] * 3
    assert rounds.bytes_up == [0, 0]
    assert trainer.progress.privacy["taken"] == 2
    assert set(trainer.progress.loss) == {0.0}


def test_epsilon_stands_after_every_round(undisturbed):
    curve = [epsilon_of(Steps(1.0, 1.0, count), 1e-5, "rdp") for count in (1, 2)]
    assert undisturbed.progress.epsilon == curve
    assert undisturbed.progress.epsilon_by_round == {2: curve[0], 4: curve[1]}
    assert undisturbed.progress.privacy["taken"] == 2


def test_rounds_without_an_evaluation_are_in_the_curves(data, tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENT, "evaluate_every", 4)
    trainer = trainer_with(data, tmp_path)
    trainer.run()
    points = [each for each in trainer.progress.points() if "epsilon" in each]
    points = {each["step"]: each["epsilon"] for each in points}
    assert points == trainer.progress.epsilon_by_round


@pytest.mark.parametrize("stop_at", [3, 9])
def test_killed_and_resumed_same_bits_and_same_account(
    data, tmp_path, monkeypatch, undisturbed, stop_at
):
    monkeypatch.setattr(
        "encoder_ablations.engine.training.checkpointing.saving.CHECKPOINT_SECONDS", -1
    )
    with pytest.raises(Killed):
        trainer_with(data, tmp_path).run(killed_after(stop_at))
    second = trainer_with(data, tmp_path)
    second.course.rounds.private.noise = 99.0  # as if it were solved otherwise
    second.run()
    assert result(second) == result(undisturbed)
    assert second.progress.epsilon_by_round == undisturbed.progress.epsilon_by_round


class Dying(FederatedCourse):
    """The client 1 dies in the first round."""

    dying = (1,)

    def train(self, loop, advance):
        def step(batches, seed):
            number = next(each.number for each in self.rounds.clients if each.seed == seed)
            if number in self.dying and self.rounds.number == 0:
                raise FloatingPointError("the loss is nan")
            return own(batches, seed)

        own = loop.step
        object.__setattr__(loop, "step", step)
        super().train(loop, advance)


class AllDying(Dying):
    dying = (0, 1, 2)


def test_a_client_that_dies_contributes_nothing(data, tmp_path):
    trainer = trainer_with(data, tmp_path, kind=Dying)
    private, seen = trainer.course.rounds.private, []
    of = private.of

    def watched(present, models, number):
        seen.append((sorted(models), private.rate, private.clients, private.noise))
        return of(present, models, number)

    private.of = watched
    trainer.run()
    assert seen == [([0, 2], 1.0, 3, 1.0), ([0, 1, 2], 1.0, 3, 1.0)]
    assert [each["client"] for each in trainer.course.rounds.failures] == [1]
    assert trainer.progress.privacy["taken"] == 2


def test_if_no_client_has_ever_finished_the_training_fails(data, tmp_path):
    with pytest.raises(FloatingPointError):
        trainer_with(data, tmp_path, kind=AllDying).run()


def test_an_update_that_is_not_finite_is_a_failure(data, tmp_path):
    trainer = trainer_with(data, tmp_path)
    rounds = trainer.course.rounds
    rounds.begin(rounds.global_model, rounds.own(0))
    with torch.no_grad():
        trainer.segmenter.head.classify.weight[0] = float("inf")
    rounds.accept(rounds.clients[0], rounds.learnt([1.0, 1.0], [{}, {}]))
    assert not rounds.done
    assert [each["client"] for each in rounds.failures] == [0]


def test_buffers_that_clients_change_are_refused(data, tmp_path):
    model = grouped()
    model.head.register_buffer("mean", torch.zeros(1))
    trainer = trainer_of(data, tmp_path, FEDERATION, model=model)
    rounds = trainer.course.rounds
    rounds.begin(rounds.global_model, rounds.own(0))
    model.head.mean += 1
    with pytest.raises(InputError, match=r"head\.mean"):
        rounds.learnt([1.0], [{}])


@pytest.mark.parametrize("kind", ["fedavgm", "fedadam"])
def test_the_server_s_optimiser_sees_the_noised_mean_alone(data, tmp_path, undisturbed, kind):
    trainer = trainer_with(data, tmp_path, FEDERATION | {"algorithm": {"kind": kind}})
    trainer.run()
    assert trainer.progress.privacy == undisturbed.progress.privacy
    assert result(trainer) != result(undisturbed)


def test_batch_norm_statistics_must_not_leave_the_clients(data, tmp_path):
    with pytest.raises(InputError, match="BatchNorm") as error:
        trainer_of(data, tmp_path, FEDERATION)
    assert "\n" not in str(error.value)
    kept = trained(data, tmp_path, FEDERATION | {"local_batch_norm": True})
    assert kept.progress.privacy["taken"] == 2


def test_estimated_statistics_are_refused(data, tmp_path):
    model = grouped()
    model.encoder.batch_norm = "estimate"
    with pytest.raises(InputError, match="estimate"):
        trainer_of(data, tmp_path, FEDERATION, model=model)


def test_both_noise_and_epsilon_are_refused(data, tmp_path):
    both = FEDERATION | {"privacy": PRIVACY | {"epsilon": 3}}
    with pytest.raises(InputError, match=r"gives epsilon [0-9.]+ at"):
        trainer_of(data, tmp_path, both, places=THREE, model=grouped())


def test_a_large_delta_is_warned_about():
    assert "1 / 4 clients" in large_client_delta(spec_of(clients=4, privacy={"delta": 0.25}))
    assert large_client_delta(spec_of(clients=4, privacy={"delta": 0.24})) is None
    assert large_client_delta(FederationSpec(clients=4, rounds=2)) is None
    assert large_client_delta(None) is None
