"""What goes wrong as text for the terminal."""

from collections.abc import Sequence

from encoder_ablations.experiments.worst.findings import Findings
from encoder_ablations.experiments.worst.page import Shown, class_rows

LISTED = 5
"""Lines of each list."""


def worst_table(
    names: Sequence[str], findings: Findings, shown: Shown, classes: Sequence[str]
) -> str:
    """Return the worst images, classes and regions, and where the models differ most.

    Args:
        names: of the models.
        findings: everything that was found.
        shown: which of it the page shows.
        classes: their names.
    """
    lines = ["worst images (IoU % over the classes in the truth)", _names(names)]
    for image in shown.images[:LISTED]:
        lines.append(_numbers(image.id, [f"{100 * iou:.1f}" for iou in image.ious]))
    lines += ["worst classes (IoU %)", _names(names)]
    for row in class_rows(findings, classes)[:LISTED]:
        lines.append(f"{_numbers(row['name'], row['ious'])}  taken for {row['taken_for']}")
    lines.append("largest wrong regions")
    for each in shown.regions[:LISTED]:
        region = each.region
        what = f"{classes[region.truth]} taken for {classes[region.predicted]}"
        lines.append(
            f"  {region.image}: {region.pixels} pixels, mostly {what}, {names[each.model]}"
        )
    only = findings.only()
    if shown.pairs:
        lines.append("pixels where one is right and the other wrong (% of all labelled pixels)")
    for first, second, images in shown.pairs:
        found = ", ".join(image.id for image in images[:LISTED]) or "–"
        share = f"{100 * only[first, second]:.1f}"
        lines.append(f"  {names[first]} right, {names[second]} wrong: {share} (most in {found})")
    return "\n".join(lines)


def _names(names: Sequence[str]) -> str:
    return _numbers("", names)


def _numbers(first: str, cells: Sequence[str]) -> str:
    return "  ".join([f"  {first:<30}", *(f"{cell:>10}" for cell in cells)])
