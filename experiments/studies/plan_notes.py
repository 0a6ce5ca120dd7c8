"""What a dry run says about runs that have not started, beside the table of them."""

from collections.abc import Iterable, Sequence

from encoder_ablations.encoders.batch_norm import sentence_about, statistics_of
from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.table.rows import HierarchicalRow
from encoder_ablations.engine.training.description import average_warning
from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.zero_labels.queries import warning_of_texts


def notes_before_start(specs: Sequence[RunSpec]) -> list[str]:
    """Return what the runs will disclose about BatchNorm and averages, and doubtful texts.

    Each line stands there once.

    Raises:
        InputError: an encoder has a setting that has no meaning for it.
    """
    found = [*_about_bodies(specs), *_about_micro_batches(specs), *_about_averages(specs)]
    found += _about_texts(specs)
    return list(dict.fromkeys(found))


def _about_bodies(specs: Iterable[RunSpec]) -> list[str]:
    found = []
    for spec in specs:
        encoder = spec.encoder
        sentence = sentence_about(statistics_of(encoder, _has_batch_norm(encoder)), encoder.weights)
        if sentence is not None:
            found.append(f"note: {encoder.title}: {sentence}")
    return found


def _has_batch_norm(encoder: EncoderSpec) -> bool:
    """Return what the table says, or else the model itself; plain vision transformers have none."""
    row = find_row(encoder.name)
    facts = read_facts().get(row.name)
    if facts is not None:
        return facts.batch_norm
    return isinstance(row, HierarchicalRow) and _built_has_batch_norm(encoder)


def _built_has_batch_norm(encoder: EncoderSpec) -> bool:
    # not above: a dry run that need not look into models does without PyTorch
    import torch

    from encoder_ablations.encoders.build import build_encoder
    from encoder_ablations.encoders.freezing import has_running_statistics

    with torch.device("meta"):
        built = build_encoder(_without_weights(encoder))
    return has_running_statistics(built.body)


def _without_weights(encoder: EncoderSpec) -> EncoderSpec:
    """Return the encoder with weights that need no file; what it is built of stays the same."""
    return encoder.model_copy(update={"weights": "random", "batch_norm": None})


def _about_averages(specs: Iterable[RunSpec]) -> list[str]:
    warnings = [average_warning(spec.recipe) for spec in specs]
    return [f"warning: {warning}" for warning in warnings if warning is not None]


def _about_texts(specs: Iterable[RunSpec]) -> list[str]:
    warnings = [warning_of_texts(spec.segmenter) for spec in specs]
    return [f"warning: {warning}" for warning in warnings if warning is not None]


def _about_micro_batches(specs: Sequence[RunSpec]) -> list[str]:
    learning = [spec for spec in specs if spec.segmenter.learning == "steps"]
    divided = [spec for spec in learning if spec.recipe.accumulation > 1]
    if not divided:
        return []
    import torch

    from encoder_ablations.experiments.runs.disclosures import warning_of_micro_batches
    from encoder_ablations.experiments.runs.model import build_model

    found = []
    for group in alike(divided, ("encoder", "segmenter", "dataset", "recipe")):
        spec = group[0]
        without = spec.model_copy(update={"encoder": _without_weights(spec.encoder)})
        with torch.device("meta"):
            segmenter = build_model(without)
        warning = warning_of_micro_batches(segmenter, spec)
        if warning is not None:
            found.append(f"warning: {warning}")
    return found
