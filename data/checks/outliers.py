"""Findings about pairs whose content stands out against that of all pairs."""

from collections.abc import Iterator

from encoder_ablations.data.checks.content.outliers import suspicions
from encoder_ablations.data.checks.facts import Content
from encoder_ablations.data.checks.rules import Finding


def outliers(content: Content) -> Iterator[Finding]:
    """Compare all pairs whose image and mask fit each other in size."""
    known = [(each, each.content) for each in content.pairs if each.content is not None]
    for found in suspicions([measured for _, measured in known], content.spec.classes):
        pair = known[found.index][0]
        about = pair.about_mask
        if found.code.startswith("image-"):
            about = pair.about_image
        yield about(found.code, found.detail)
