"""Names, paths and deltas to segmentation heads."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.sources import check_source
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.facts import Learning
from encoder_ablations.segmenters.loss_registry import checked_losses
from encoder_ablations.segmenters.registry import head_entry, head_names, head_settings
from encoder_ablations.segmenters.spec import DenseSpec, HeadSpec, SegmenterSpec
from encoder_ablations.segmenters.zero_shot.sizes import check_sizes, known_patch
from encoder_ablations.utils.config import build, config_names, merge
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.references import Reference, resolve


def load_segmenter(
    reference: Reference,
    overrides: Mapping[str, Any] | None = None,
    given: str = "the given settings",
) -> SegmenterSpec:
    """Return the head that a reference means, with all its settings.

    Args:
        reference: the name of a YAML in ``configs/segmenters`` or of a head, the path of a YAML,
            ``package.module:Class`` for a head of one's own, or a mapping that may be a delta over
            one of these.
        overrides: settings over those of the reference.
        given: where these come from, for messages.

    Raises:
        InputError: there is no such head, or it has no such setting or value.
    """
    content, source = resolve("segmenters", reference, _defaults)
    content = merge(content, overrides or {})
    spec, name = head_settings(str(content.get("name")))
    noted = _noted_learning(content.pop("learns", None), name, source)
    settings = build(spec, content | {"name": name}, source, overrides, given)
    if isinstance(settings, DenseSpec):
        losses = checked_losses(settings.loss, source)
        resolved = {each: own.model_dump(mode="json") for each, own in losses.items()}
        settings = settings.model_copy(update={"loss": resolved})
    return SegmenterSpec.model_validate(settings).model_copy(update={"learns": noted})


def _noted_learning(given: Any, name: str, source: str) -> Learning:
    """Return how a head of one's own learns; "steps" for a built-in one, which is looked up.

    Args:
        given: what a saved run says about it; None = nothing.
        name: of the head.
        source: begins the message.

    Raises:
        InputError: the head says something else.
    """
    learning: Learning = "steps"
    if name not in BUILT_IN:
        learning = head_entry(name).learning
    if given not in (None, learning):
        raise InputError(
            f"{source}: learns is '{given}', but {name} learns '{learning}'. Leave learns out: the "
            "head itself says it (register_head)."
        )
    return learning


def _defaults(name: str) -> dict[str, Any]:
    """Return the settings of a head without a YAML."""
    if ":" not in name and name not in head_names():
        raise unknown("segmenter", name, {*config_names("segmenters"), *head_names()})
    return {"name": name}


CHANCE = "The encoder's weights are random and so have nothing to do with texts: scores are chance."
"""What outputs say where :func:`is_chance`."""


def is_chance(segmenter: SegmenterSpec, encoder: EncoderSpec) -> bool:
    """Return whether a head compares random features with texts."""
    compares = BUILT_IN.get(segmenter.name, HeadSpec).in_text_space
    return compares and encoder.weights == "random"


def check_texts(segmenter: SegmenterSpec, encoder: EncoderSpec) -> None:
    """Check that an encoder can be compared with texts, if its head does that.

    Also that no window is smaller than a patch. A head of one's own is not imported for this. It is
    checked when it is built.

    Raises:
        InputError: see :func:`check_source` and :func:`check_sizes`.
    """
    if BUILT_IN.get(segmenter.name, HeadSpec).in_text_space:
        text = getattr(segmenter, "text", None) or {}
        check_source(encoder, text.get("tower"))
        check_sizes(segmenter, known_patch(encoder))
