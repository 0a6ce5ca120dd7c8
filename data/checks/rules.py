"""What can be wrong with a dataset: the rules of ``rules.yaml``, and findings of broken ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoder_ablations.utils.config import Config, build, read_yaml

Severity = Literal["error", "warning", "suspicion", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "suspicion", "note")


class Rule(Config):
    """One kind of defect."""

    code: str
    severity: Severity
    """One of: error = training stops or learns something wrong; warning = the result is doubtful;
    suspicion = stands out against the other pairs, look at it; note = good to know.
    """
    title: str
    """What is wrong, in a few words."""
    fix: str
    """What to do about it."""
    corrected: bool = False
    """Whether ``ablate lint --fix`` corrects it, or leaves the file out of the copy and says so."""


@dataclass(frozen=True)
class Finding:
    """A rule that a file breaks, or the dataset as a whole (then ``path`` is None).

    Attributes:
        split: the split it was found in, "" for the dataset as a whole.
        detail: what was found, with numbers.
    """

    rule: Rule
    path: Path | None
    split: str
    detail: str


def _read_rules() -> dict[str, Rule]:
    source = Path(__file__).with_name("rules.yaml")
    return {
        code: build(Rule, {"code": code, **row}, source) for code, row in read_yaml(source).items()
    }


RULES = _read_rules()


def finding(code: str, path: Path | None, split: str, detail: str) -> Finding:
    """Return a finding of the rule with this code."""
    return Finding(RULES[code], path, split, detail)
