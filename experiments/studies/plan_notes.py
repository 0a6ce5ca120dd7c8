"""What a dry run says about runs that have not started, beside the table of them."""

from collections.abc import Iterable, Sequence

from encoder_ablations.encoders.batch_norm import sentence_about, statistics_of
from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.spec import RunSpec


def notes_before_start(specs: Sequence[RunSpec]) -> list[str]:
    """Return what the runs will disclose about BatchNorm, each line once.

    Raises:
        InputError: an encoder has a setting that has no meaning for it.
    """
    found = [*_about_bodies(specs), *_about_micro_batches(specs)]
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
    """Return what the table says; vision transformers outside of it have none."""
    facts = read_facts().get(find_row(encoder.name).name)
    return facts is not None and facts.batch_norm


def _about_micro_batches(specs: Sequence[RunSpec]) -> list[str]:
    divided = [spec for spec in specs if spec.recipe.accumulation > 1]
    if not divided:
        return []
    # not above: a dry run that need not look into models does without PyTorch
    import torch

    from encoder_ablations.experiments.runs.disclosures import warning_of_micro_batches
    from encoder_ablations.experiments.runs.model import build_model

    found = []
    for group in alike(divided, ("encoder", "segmenter", "dataset", "recipe")):
        spec = group[0]
        encoder = spec.encoder.model_copy(update={"weights": "random", "batch_norm": None})
        # weights do not matter, so none are loaded, and they need no memory
        with torch.device("meta"):
            segmenter = build_model(spec.model_copy(update={"encoder": encoder}))
        warning = warning_of_micro_batches(segmenter, spec)
        if warning is not None:
            found.append(f"warning: {warning}")
    return found
