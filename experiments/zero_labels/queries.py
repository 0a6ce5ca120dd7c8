"""The settings of heads that find classes by texts, filled in for a dataset."""

from collections.abc import Mapping, Sequence

from encoder_ablations.encoders.text.vocabulary import (
    Vocabulary,
    load_vocabulary,
    texts_of_names,
    warning_of_placeholders,
)
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import HeadSpec, QueriesSpec, SegmenterSpec
from encoder_ablations.utils.errors import InputError
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
    if vocabulary is None:
        return segmenter
    return SegmenterSpec.model_validate(segmenter.model_dump() | {"vocabulary": vocabulary.texts})


def with_queries(segmenter: SegmenterSpec, classes: Sequence[str]) -> SegmenterSpec:
    """Return a head with the texts that it looks for, and the class of each.

    Heads that take no texts stay as they are.

    Args:
        segmenter: the head; queries that it already has are kept.
        classes: names of the dataset's classes in id order.

    Raises:
        InputError: its vocabulary does not fit the classes, or a class has no text and is not the
            head's background.
    """
    if not _takes_queries(segmenter):
        return segmenter
    content = segmenter.model_dump()
    if content.get("queries") is None:
        content["queries"] = _queries(segmenter, classes, content.get("background"))
    return SegmenterSpec.model_validate(content | {"vocabulary": None})


def warning_of_texts(segmenter: SegmenterSpec) -> str | None:
    """Return a warning if a head looks for texts that are no words; None for all other heads."""
    queries = getattr(segmenter, "queries", None)
    # of heads that learn, queries are a number
    if not isinstance(queries, Mapping):
        return None
    return warning_of_placeholders(queries)


def _queries(
    segmenter: SegmenterSpec, classes: Sequence[str], background: int | None
) -> dict[str, int]:
    """Return text → class id of every text; by default each class has its name as text.

    Args:
        segmenter: the head.
        classes: names in id order.
        background: id of the class that needs no text.
    """
    where = f"segmenter {segmenter.name}: vocabulary"
    vocabulary = _vocabulary(segmenter)
    if vocabulary is None:
        vocabulary = load_vocabulary(texts_of_names(classes), where)
    queries = vocabulary.queries_for(classes, where)
    found = {*queries.values(), background}
    missing = [name for number, name in enumerate(classes) if number not in found]
    if missing:
        raise InputError(
            f"{where}: there are no texts for {', '.join(missing)}. Add lines such as  "
            f"{missing[0]}: [{missing[0]}]."
        )
    # in the order of the ids, so that equal vocabularies are equal runs
    return dict(sorted(queries.items(), key=lambda query: query[1]))


def _takes_queries(segmenter: SegmenterSpec) -> bool:
    """Return whether a head has the settings of :class:`~..segmenters.spec.QueriesSpec`.

    It is seen by their names, so that a study can be read where the head is not installed.
    """
    own = QueriesSpec.model_fields.keys() - HeadSpec.model_fields.keys()
    return own <= segmenter.model_dump().keys()


def _vocabulary(segmenter: SegmenterSpec) -> Vocabulary | None:
    """Return what a head's setting says, or the content of the file that it names."""
    given = getattr(segmenter, "vocabulary", None)
    if given is None:
        return None
    return load_vocabulary(given, f"segmenter {segmenter.name}: vocabulary")
