"""The settings of heads that find classes by texts, filled in for a dataset."""

from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments.zero_labels.vocabulary import (
    Vocabulary,
    checked_vocabulary,
    queries_of,
    read_vocabulary,
)
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import HeadSpec, QueriesSpec, SegmenterSpec
from encoder_ablations.utils.references import Reference


def load_with_vocabulary(reference: Reference) -> SegmenterSpec:
    """Return a head as :func:`load_segmenter` does, with the content of its vocabulary's file.

    Raises:
        InputError: there is no such head or file, or one of them is not valid.
    """
    return with_vocabulary(load_segmenter(reference))


def with_vocabulary(segmenter: SegmenterSpec) -> SegmenterSpec:
    """Return a head whose vocabulary is not a file's name, but what the file holds.

    Raises:
        InputError: there is no such file, or it holds no vocabulary.
    """
    if not _takes_queries(segmenter):
        return segmenter
    vocabulary = _vocabulary(segmenter)
    return SegmenterSpec.model_validate(segmenter.model_dump() | {"vocabulary": vocabulary})


def with_queries(segmenter: SegmenterSpec, classes: Sequence[str]) -> SegmenterSpec:
    """Return a head with the texts that it looks for, and the class of each.

    Heads that take no texts stay as they are.

    Args:
        segmenter: the head; queries that it already has are kept.
        classes: names of the dataset's classes in id order.

    Raises:
        InputError: its vocabulary does not fit the classes.
    """
    if not _takes_queries(segmenter):
        return segmenter
    content = segmenter.model_dump()
    if content.get("queries") is None:
        content["queries"] = queries_of(_vocabulary(segmenter), classes)
    return SegmenterSpec.model_validate(content | {"vocabulary": None})


def _takes_queries(segmenter: SegmenterSpec) -> bool:
    """Return whether a head has the settings of :class:`~..segmenters.spec.QueriesSpec`.

    It is seen by their names, so that a study can be read where the head is not installed.
    """
    own = QueriesSpec.model_fields.keys() - HeadSpec.model_fields.keys()
    return own <= segmenter.model_dump().keys()


def _vocabulary(segmenter: SegmenterSpec) -> Vocabulary | None:
    """Return what a head's setting says, or the content of the file that it names."""
    given = getattr(segmenter, "vocabulary", None)
    if isinstance(given, str):
        return read_vocabulary(Path(given))
    if given is None:
        return None
    return checked_vocabulary(given, f"segmenter {segmenter.name}: vocabulary")
