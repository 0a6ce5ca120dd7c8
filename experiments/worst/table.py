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
    header = _numbers("", names, names)
    lines = ["worst images (IoU % over the classes in the truth)", header]
    for image in shown.images[:LISTED]:
        lines.append(_numbers(image.id, [f"{100 * iou:.1f}" for iou in image.ious], names))
    lines += ["worst classes (IoU %)", header]
    for row in class_rows(findings, classes)[:LISTED]:
        line = _numbers(row["name"], row["ious"], names)
        lines.append(f"{line}  taken for {row['taken_for']}")
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


def _numbers(first: str, cells: Sequence[str], names: Sequence[str]) -> str:
    """Return a line of a table whose columns are as wide as the names above them."""
    widths = [max(6, len(name)) for name in names]
    aligned = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([f"  {first:<30}", *aligned])
