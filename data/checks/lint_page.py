"""The findings of ``ablate lint`` as one HTML page that needs nothing but itself."""

from pathlib import Path

from encoder_ablations.data.checks.facts import grouped
from encoder_ablations.data.checks.lint import LintReport
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.utils.html_page import render_page

LISTED = 500
"""Files that the page names per rule."""


def render(report: LintReport) -> str:
    """Return HTML with every rule that is broken, its files, and the pixels of each class."""
    content = report.as_json()
    files = grouped(content["findings"], lambda row: row["rule"])
    groups = [
        {"rule": rule, "count": len(found), "files": files[rule.code][:LISTED]}
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
