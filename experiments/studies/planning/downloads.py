"""Weights that a study would download."""

from collections.abc import Sequence

from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.weights.hub import cached_weights
from encoder_ablations.encoders.weights.packages import PACKAGED
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError

BYTES = 4
"""Bytes of a parameter in float32, as most files on the hub hold it."""


def downloads(specs: Sequence[RunSpec]) -> dict[str, int | None]:
    """Return the files that are not on this machine: encoder -> bytes; None if not known.

    The bytes follow from the number of parameters. Datasets on the hub do not say how large they
    are.
    """
    facts, found = read_facts(), dict[str, int | None]()
    for spec in specs:
        name = spec.encoder.name
        if name not in found and _is_missing(spec.encoder):
            known = facts.get(find_row(name).name)
            found[name] = None if known is None else BYTES * known.parameters
        if spec.dataset.hub is not None and not spec.dataset.is_prepared:
            found[spec.dataset.name] = None
    return found


def with_local_weights(spec: RunSpec) -> RunSpec:
    """Return the run as it is, or with random weights where its own must be downloaded first.

    A step takes the same time with any weights.
    """
    if not _is_missing(spec.encoder):
        return spec
    encoder = spec.encoder.model_copy(update={"weights": "random", "batch_norm": None})
    return spec.model_copy(update={"encoder": encoder})


def _is_missing(encoder: EncoderSpec) -> bool:
    """Return whether the weights lie on the hub and not on this machine."""
    row = find_row(encoder.name)
    if encoder.weights != "pretrained" or not row.model or row.model in PACKAGED:
        return False
    try:
        return cached_weights(row.model) is None
    except InputError:
        # without weights on the hub nothing is downloaded; building the model says what is wrong
        return False
