"""Federated training against central training and against each client alone, per encoder.

Nothing but the federation differs between the runs that are compared: not the encoder, the head,
the dataset, the share of the images, the recipe or the seed. Clients alone are those of the same
partition.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from encoder_ablations.data.partitions.spec import partition_title
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.reporting.findings.groups import FinishedRun
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.stats.seeds import (
    Difference,
    Summary,
    paired_difference,
    summarize,
)
from encoder_ablations.utils.texts import data_size, plural

Scores = dict[int, float]
"""Seed -> the main metric, 0..1."""


@dataclass(frozen=True)
class Federated:
    """One encoder in one federation, beside the same without it.

    Attributes:
        encoder: its unique title.
        place: dataset and head.
        runs: the federated runs.
        central: scores of central training.
        alone: seed -> the score of each client that has trained alone, where all have.
    """

    encoder: str
    place: str
    runs: tuple[FinishedRun, ...]
    central: Scores
    alone: Mapping[int, list[float]]

    @property
    def spec(self) -> FederationSpec:
        """Return the settings of the federation."""
        federation = self.runs[0].spec.federation
        assert federation is not None
        return federation

    @property
    def fraction(self) -> float:
        """Return the share of the training images, 0..1."""
        return self.runs[0].spec.fraction

    @property
    def random_weights(self) -> bool:
        """Whether the encoder began with random weights."""
        return self.runs[0].spec.encoder.weights == "random"

    @property
    def scores(self) -> Scores:
        """Return the federated scores."""
        return _scores(self.runs)

    @property
    def mean_alone(self) -> Scores:
        """Return the mean of the clients that have trained alone."""
        return {seed: fmean(scores) for seed, scores in self.alone.items()}

    @property
    def worst_alone(self) -> Summary:
        """Return the lowest score of a client alone, summarised over seeds."""
        return summarize([min(scores) for scores in self.alone.values()])

    @cached_property
    def against_central(self) -> Difference:
        """Return federated minus central."""
        return paired_difference(self.scores, self.central)

    @cached_property
    def against_alone(self) -> Difference:
        """Return federated minus the mean of the clients alone."""
        return paired_difference(self.scores, self.mean_alone)

    @property
    def gaps(self) -> Scores:
        """Return federated minus central, seed by seed."""
        own = self.scores
        return {seed: own[seed] - self.central[seed] for seed in own.keys() & self.central.keys()}

    @property
    def twin(self) -> str:
        """Return JSON that is equal for encoders that differ only in the weights at the start."""
        spec = self.runs[0].spec
        encoder = spec.encoder.model_dump(mode="json", exclude={"weights", "label"})
        return canonical([encoder, _surroundings(self.runs[0]), self.spec.title])


def federated(study: Study) -> list[Federated]:
    """Return every encoder in every federation of a study, by place and encoder."""
    if not any(run.spec.has_rounds for run in study.finished):
        return []
    groups: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    central: dict[str, list[FinishedRun]] = defaultdict(list)
    alone: dict[tuple[str, str], list[FinishedRun]] = defaultdict(list)
    for run in study.finished:
        federation, rest = run.spec.federation, _without_federation(run)
        if federation is None:
            central[rest].append(run)
        elif federation.is_local:
            alone[rest, _clients(federation)].append(run)
        else:
            groups[rest, federation.title].append(run)
    found = []
    for (rest, _), runs in groups.items():
        federation = runs[0].spec.federation
        assert federation is not None
        by_seed = _by_seed(alone[rest, _clients(federation)], federation.clients)
        spec = runs[0].spec
        place = f"{spec.dataset.name} · {spec.segmenter.name}"
        title = study.titles[runs[0].run_id]
        found.append(Federated(title, place, tuple(runs), _scores(central[rest]), by_seed))
    return sorted(found, key=lambda each: (each.place, each.spec.title, each.encoder))


def _surroundings(run: FinishedRun) -> dict[str, object]:
    """Return everything but encoder, seed and federation."""
    exclude = {"encoder", "seed", "federation"}
    return dict(run.spec.model_dump(mode="json", exclude=exclude))


def _without_federation(run: FinishedRun) -> str:
    """Return JSON that is equal for runs that differ only in seed and federation."""
    return canonical(run.spec.model_dump(mode="json", exclude={"seed", "federation"}))


def _clients(federation: FederationSpec) -> str:
    """Return which clients there are: equal for federations whose partition is the same."""
    return f"{federation.clients} {partition_title(federation.partition)}"


def _scores(runs: list[FinishedRun] | tuple[FinishedRun, ...]) -> Scores:
    """Return seed -> score, without runs that have none."""
    found = {run.spec.seed: run.metrics.main for run in runs}
    return {seed: score for seed, score in found.items() if score is not None}


def _by_seed(runs: list[FinishedRun], clients: int) -> dict[int, list[float]]:
    """Return the clients' scores of every seed for which all of them have one."""
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if run.metrics.main is not None:
            found[run.spec.seed].append(run.metrics.main)
    return {seed: scores for seed, scores in found.items() if len(scores) == clients}


HEADER = ["data and head", "encoder", "federation", "images", "federated ({} %)", "central (%)"]
HEADER += ["federated − central (points)", "alone, mean (%)", "alone, worst (%)"]
HEADER += ["federated − alone (points)", "n", "worst client's loss", "sent per round"]


def federated_table(study: Study) -> Table:
    """Return a row for each encoder in each federation.

    "alone" is the mean, and the lowest, of the clients that have trained alone. Differences are
    over the seeds that both have. "worst client's loss" is the largest of the clients' mean
    training losses in the last round, over all clients and seeds.
    """
    rows = [list(_cells(each)) for each in federated(study)]
    caption = "Federated training, central training, and each client alone, with 95 % intervals."
    header = [column.format(study.metric.label) for column in HEADER]
    return Table(caption, header, rows, names=3)


def _cells(found: Federated) -> Iterator[str]:
    yield from (found.place, found.encoder, found.spec.title, formats.fraction(found.fraction))
    yield summarize(list(found.scores.values())).text()
    yield summarize(list(found.central.values())).text()
    yield formats.change(found.against_central.over)
    yield summarize(list(found.mean_alone.values())).text()
    yield found.worst_alone.text()
    yield formats.change(found.against_alone.over)
    yield str(len(found.scores))
    yield _worst_client(found)
    yield data_size(_sent(found))


def _worst_client(found: Federated) -> str:
    """Return the client with the largest loss in its last round, of all seeds."""
    worst: list[tuple[float, str]] = []
    for run in found.runs:
        record = run.federation
        if record is None or record.worst_client is None:
            continue
        client = record.clients[record.worst_client]
        loss = [each for each in client.loss if each is not None][-1]
        images = plural(client.images, "image")
        worst.append((loss, f"{loss:.3f} (client {record.worst_client}, {images})"))
    if not worst:
        return formats.DASH
    return max(worst)[1]


def _sent(found: Federated) -> float:
    """Return the bytes that server and clients send in a round, on average."""
    sums = []
    for run in found.runs:
        record = run.federation
        if record is not None and record.bytes_up:
            sums.append((sum(record.bytes_up) + sum(record.bytes_down)) / len(record.bytes_up))
    if not sums:
        return 0.0
    return fmean(sums)


def twins(found: list[Federated]) -> Iterator[tuple[Federated, Federated]]:
    """Yield each encoder with loaded weights and the same one with random weights."""
    by_twin: dict[str, list[Federated]] = defaultdict(list)
    for each in found:
        by_twin[each.twin].append(each)
    for members in by_twin.values():
        loaded = [each for each in members if not each.random_weights]
        random = [each for each in members if each.random_weights]
        for one in loaded:
            for other in random:
                yield one, other
