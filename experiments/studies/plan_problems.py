"""Which runs of a plan cannot start, as far as their settings tell without building a model."""

from collections.abc import Sequence

from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec, refuse_blocks
from encoder_ablations.encoders.table.lookup import ALIASES, TABLE, find_row
from encoder_ablations.encoders.table.rows import source_of
from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.class_weights import class_weights_of, refuse_balanced
from encoder_ablations.utils.errors import InputError


def impossible_settings(specs: Sequence[RunSpec]) -> dict[str, str]:
    """Return which runs have settings that do not fit their model or dataset: run id -> a line.

    Of encoders that are not in the table only the weights' tag is checked: their model tells more.
    """
    problems: dict[str, str] = {}
    for group in alike(specs, ("encoder", "segmenter", "dataset", "recipe", "federation")):
        spec = group[0]
        try:
            if spec.is_private:
                refuse_balanced(spec.segmenter)
            _check_tag(spec.encoder)
            _check_blocks(spec.encoder)
            class_weights_of(spec.segmenter, spec.dataset.classes, None)
        except InputError as error:
            problems |= {each.run_id: str(error) for each in group}
    return problems


def _check_tag(encoder: EncoderSpec) -> None:
    """Check that timm has the weights that the name of a model outside of the table ends with.

    Raises:
        InputError: it has none of this tag.
    """
    row = find_row(encoder.name)
    outside = encoder.name not in TABLE and encoder.name not in ALIASES
    if outside and row.model is not None and "." in row.model:
        source_of(row)  # imports timm


def _check_blocks(encoder: EncoderSpec) -> None:
    """Check that an encoder of the table has the blocks that are to be frozen.

    Raises:
        InputError: it has fewer.
    """
    facts = read_facts().get(find_row(encoder.name).name)
    if facts is not None and isinstance(encoder.freeze, int):
        refuse_blocks(encoder.freeze, facts.blocks)
