"""The findings of ``ablate lint`` as one HTML page that needs nothing but itself."""

from pathlib import Path

from encoder_ablations.data.checks.content.pictures import side_by_side
from encoder_ablations.data.checks.facts import PairFacts, grouped
from encoder_ablations.data.checks.lint import LintReport
from encoder_ablations.data.checks.rules import Finding
from encoder_ablations.data.datasets.decoding import class_table, read_values
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec
from encoder_ablations.utils.pages.html_page import render_page
from encoder_ablations.utils.texts import readable

LISTED = 500
"""Files that the page names per rule."""
PICTURED = 24
"""Suspicious pairs that the page shows per rule."""


def render(report: LintReport) -> str:
    """Return HTML with every rule that is broken, its files, and the pixels of each class."""
    content = report.as_json()
    files = grouped(content["findings"], lambda row: row["rule"])
    groups = [
        {
            "rule": rule,
            "count": len(found),
            "files": files[rule.code][:LISTED],
            "pictures": _pictures(report, found[:PICTURED]),
        }
        for rule, found in report.by_rule
    ]
    pixels = content["class_pixels"]
    totals = {split: max(1, sum(counts.values())) for split, counts in pixels.items()}
    classes = [
        {
            "name": name,
            "color": "#{:02x}{:02x}{:02x}".format(*color),
            "shares": [100 * pixels[split][name] / totals[split] for split in pixels],
        }
        for name, color in zip(report.spec.classes, colors_of(report.spec), strict=True)
    ]
    return render_page(
        Path(__file__).with_suffix(".html"),
        report=content,
        groups=groups,
        classes=classes,
        splits=list(pixels),
    )


def _pictures(report: LintReport, findings: list[Finding]) -> list[dict[str, str]]:
    """Return pictures of the pairs that stand out against the others."""
    pairs = {path: each for each in report.facts for path in (each.pair.image, each.pair.mask)}
    return [
        {
            "source": _picture(pairs[each.path], report.spec),
            "caption": f"{report.shorten(each.path)}: {readable(each.detail)}",
        }
        for each in findings
        if each.rule.severity == "suspicion" and each.path in pairs
    ]


def _picture(facts: PairFacts, spec: DatasetSpec) -> str:
    """Return image and overlay; both could be read and are of one size."""
    ids = read_values(facts.pair.mask, spec)
    classes = class_table(spec)[ids.clip(0, LARGEST_VALUE)]
    return side_by_side(read_image(facts.pair.image, spec.upright), classes, colors_of(spec))
