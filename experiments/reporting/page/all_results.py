"""Every result and every run of a study, as the page's script filters and recomputes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import scipy

from encoder_ablations.experiments.reporting.figures.drawing import Styles
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.stats.seeds import CONFIDENCE
from encoder_ablations.utils.texts import duration

MOST_RUNS = 2000
"""Most runs that the page lists; runs.csv has all."""


@dataclass(frozen=True)
class ResultRow:
    """One encoder at one share of the images; texts, and the numbers behind them.

    Attributes:
        setting: number of the setting, from 0 on.
        encoder: its title.
        share: of the training images, 0..1.
        images: the same as text.
        scores: seed and score in 0..1 of every finished run, as "0:0.7123 1:0.7034".
        score: mean and interval over seeds.
        n: number of seeds.
        rank: 1 for the best of the setting at this share.
        behind: points behind the best, over shared seeds, and the bounds of that.
    """

    setting: int
    encoder: str
    share: float
    images: str
    scores: str
    score: str
    n: int
    rank: int
    behind: str
    behind_spread: str


def result_rows(study: Study) -> list[ResultRow]:
    """Return all results: setting by setting, the largest share first, the best first."""
    found = []
    for number, setting in enumerate(study.settings):
        for share in reversed(setting.fractions):
            found += list(_ranked(number, setting, share))
    return found


def _ranked(number: int, setting: Setting, share: float) -> Iterator[ResultRow]:
    ranked = ranking(setting, share)
    for rank, standing in enumerate(ranked.standings, start=1):
        pair = ranked.pair(ranked.leader, standing)
        yield ResultRow(
            setting=number,
            encoder=standing.encoder,
            share=share,
            images=formats.fraction(share),
            scores=_scores(standing.group),
            score=standing.score.text(),
            n=standing.score.n,
            rank=rank,
            behind=formats.points(-pair.mean),
            behind_spread=formats.behind(pair.difference.over),
        )


def _scores(group: RunGroup) -> str:
    return " ".join(f"{seed}:{value:.9g}" for seed, value in sorted(group.values().items()))


def t_quantiles(study: Study) -> str:
    """Return Student's t quantiles of 95 % intervals, for 1, 2, … degrees of freedom."""
    most = max((group.score.n for group in study.groups), default=1)
    degrees = range(1, max(most, 2))
    return " ".join(f"{scipy.special.stdtrit(n, (1 + CONFIDENCE) / 2):.9g}" for n in degrees)


@dataclass(frozen=True)
class Filters:
    """What the page can be narrowed to: names by kind, and what each setting has.

    Attributes:
        encoders: titles.
        heads, datasets: names.
        fractions: share and its text, largest first.
        places: numbers of head and dataset of every setting.
    """

    encoders: list[str]
    heads: list[str]
    datasets: list[str]
    fractions: list[tuple[float, str]]
    places: list[tuple[int, int]]

    @property
    def shares(self) -> dict[str, float]:
        """Return the text of every share -> the share."""
        return {text: share for share, text in self.fractions}


def filters(study: Study, styles: Styles) -> Filters:
    """Return what a study's results can be narrowed to."""
    heads = sorted({setting.segmenter for setting in study.settings})
    datasets = sorted({setting.dataset for setting in study.settings})
    shares = sorted({group.fraction for group in study.groups}, reverse=True)
    return Filters(
        encoders=list(styles),
        heads=heads,
        datasets=datasets,
        fractions=[(share, formats.fraction(share)) for share in shares],
        places=[
            (heads.index(setting.segmenter), datasets.index(setting.dataset))
            for setting in study.settings
        ],
    )


@dataclass(frozen=True)
class RunRow:
    """A run in the table of all runs.

    Attributes:
        name: run id.
        cells: encoder, data and head, share, seed, score, state, training time.
        encoder: title, by which the row is hidden; "" where it is not known.
        setting: number of the setting; -1 where the run belongs to none.
        share: of the training images.
        links: what is in the run's folder: name -> relative address.
    """

    name: str
    cells: Sequence[str]
    encoder: str = ""
    setting: int = -1
    share: float = -1.0
    links: Mapping[str, str] | None = None


LINKED = {"record": "record.json", "log": "metrics.jsonl", "settings": "config.yaml"}
"""What the table links to -> the file in the run's folder."""


def run_rows(study: Study) -> Iterator[RunRow]:
    """Yield a row for every run: finished, failed, without a result yet, and not begun."""
    places = {
        run.run_id: (number, group)
        for number, setting in enumerate(study.settings)
        for group in setting.groups
        for run in group.records
    }
    for record in study.records:
        yield _run_row(study, record, places.get(record.run_id))
    for name in study.unfinished:
        yield _unknown(study, name, "no result yet")
    for name in study.not_begun:
        yield _unknown(study, name, "not begun")


def _run_row(study: Study, record: RunRecord, place: tuple[int, RunGroup] | None) -> RunRow:
    spec = record.spec
    number, title = -1, f"{spec.dataset.name} · {spec.segmenter.title}"
    if place is not None:
        number, title = place[0], place[1].setting
    score, training = "", ""
    if record.metrics is not None:
        score = formats.percent(_number(record.metrics.main), missing=formats.DASH)
    if record.cost is not None:
        training = duration(record.cost.train_seconds)
    encoder, share = study.titles[record.run_id], formats.fraction(spec.fraction)
    cells = [encoder, title, share, str(spec.seed), score, record.status, training]
    links = _links(study.folder, record.run_id)
    return RunRow(record.run_id, cells, encoder, number, spec.fraction, links)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _unknown(study: Study, name: str, state: str) -> RunRow:
    return RunRow(name, ["", "", "", "", "", state, ""], links=_links(study.folder, name))


def _links(folder: Path, run_id: str) -> dict[str, str]:
    """Return the addresses of a run's folder and files, relative to the page; {} without them."""
    place = folder / "runs" / run_id
    if not place.is_dir():
        return {}
    address = f"runs/{quote(run_id)}"
    present = {name: file for name, file in LINKED.items() if (place / file).exists()}
    files = {name: f"{address}/{file}" for name, file in present.items()}
    return {"folder": f"{address}/"} | files


def for_template(study: Study, styles: Styles) -> dict[str, Any]:
    """Return the values of this module by their names in the page's templates."""
    count = len(study.records) + len(study.unfinished) + len(study.not_begun)
    return {
        "results": result_rows(study),
        "quantiles": t_quantiles(study),
        "filters": filters(study, styles),
        "runs": list(islice(run_rows(study), MOST_RUNS)),
        "further_runs": max(count - MOST_RUNS, 0),
    }
