"""Read a whole dataset and report everything that is wrong with it."""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.checks.comparisons import compare
from encoder_ablations.data.checks.facts import Content, PairFacts, grouped
from encoder_ablations.data.checks.file_names import Listing, list_split
from encoder_ablations.data.checks.inspection import Inspector
from encoder_ablations.data.checks.rules import SEVERITIES, Finding, Rule, Severity
from encoder_ablations.data.datasets.pairing import find_pairs
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.utils.texts import readable

THREADS = min(4, os.cpu_count() or 1)
"""Decoders run at the same time; more threads than cores only wait for each other."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class LintReport:
    """All findings, the worst first, and what was read.

    Attributes:
        content: what was read.
        findings: what is wrong, sorted by severity.
    """

    content: Content
    findings: list[Finding]

    @property
    def spec(self) -> DatasetSpec:
        """The dataset."""
        return self.content.spec

    @property
    def facts(self) -> list[PairFacts]:
        """What was read, for every pair whose two files were found."""
        return self.content.pairs

    @property
    def pairs(self) -> dict[Split, int]:
        """Pairs that were read, by split in the usual order."""
        found = Counter(each.split for each in self.facts)
        return {split: found[split] for split in SPLITS if split in self.spec.splits}

    @property
    def counts(self) -> dict[Severity, int]:
        """Findings of each severity."""
        found = Counter(each.rule.severity for each in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def by_rule(self) -> list[tuple[Rule, list[Finding]]]:
        """Findings of each rule that is broken, the worst first."""
        groups = grouped(self.findings, lambda each: each.rule.code).values()
        return [(group[0].rule, group) for group in groups]

    def shorten(self, path: Path | None) -> str:
        """Return a path as seen from the dataset's folder, printable everywhere."""
        return readable(str(path or "").removeprefix(f"{self.spec.folder.resolve()}/"))

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs; ``docs/own_data.md`` lists the rules."""
        return {
            "dataset": self.spec.name,
            "root": readable(self.spec.folder.resolve()),
            "pairs": self.pairs,
            "counts": self.counts,
            "rules": {rule.code: len(group) for rule, group in self.by_rule},
            "class_pixels": self.class_pixels(),
            "findings": [
                {
                    "rule": each.rule.code,
                    "severity": each.rule.severity,
                    "split": each.split,
                    "file": self.shorten(each.path),
                    "title": each.rule.title,
                    "detail": readable(each.detail),
                    "fix": each.rule.fix,
                    "fixed_by_fix": each.rule.corrected,
                }
                for each in self.findings
            ],
        }

    def class_pixels(self) -> dict[str, dict[str, int]]:
        """Return the pixels of every class, by split in the usual order."""
        classes = self.spec.classes
        none = np.zeros(len(classes), np.int64)
        totals = {split: self.content.class_pixels.get(split, none) for split in self.pairs}
        return {
            split: dict(zip(classes, pixels.tolist(), strict=True))
            for split, pixels in totals.items()
        }


def lint(
    spec: DatasetSpec, progress: Callable[[int, int], object] = lambda done, total: None
) -> LintReport:
    """Read every file of every split.

    Args:
        spec: the dataset.
        progress: called after each pair with the number of pairs done and in total.

    Raises:
        InputError: the dataset's folder is not there at all.
    """
    prepare_dataset(spec)
    if not spec.folder.is_dir():
        find_pairs(spec, "train")  # says where it was looked up
    listings = [list_split(spec, split) for split in spec.splits]
    content = Content(spec, _inspect(spec, listings, progress))
    found = chain(
        *(listing.findings for listing in listings),
        *(pair.findings for pair in content.pairs),
        compare(content),
    )
    # splits that share folders list some problems several times
    return LintReport(content, sorted(dict.fromkeys(found), key=_order))


def _inspect(
    spec: DatasetSpec, listings: list[Listing], progress: Callable[[int, int], object]
) -> list[PairFacts]:
    facts = [PairFacts(listing.split, pair) for listing in listings for pair in listing.pairs]
    Image.init()  # from one thread
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # Pillow's own about size and metadata; the rules say the same with a name
        warnings.simplefilter("ignore")
        for done, _ in enumerate(pool.map(Inspector(spec).inspect, facts), 1):
            progress(done, len(facts))
    return facts


def _order(each: Finding) -> tuple[int, str, str, str]:
    return SEVERITIES.index(each.rule.severity), each.rule.code, str(each.path or ""), each.detail
