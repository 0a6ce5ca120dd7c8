"""Equal parts of records, each kept once.

Runs of a study have the same recipe, dataset, classes and steps of evaluation. As read from files,
every record has its own copies, which are a third of its memory.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from encoder_ablations.experiments.reporting.findings.groups import FinishedRun
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import RunRecord

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

OF_SPEC = ("encoder", "segmenter", "dataset", "recipe")
OF_DATA = ("class_names", "class_pixels", "colors")
OF_CURVES = ("loss_steps", "val_steps")


class SharedParts:
    """Puts one object in place of all that are equal to it."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, object] = {}

    def load(self, folder: Path) -> RunRecord | None:
        """Read the record of a run; see :func:`load_run`.

        That of a finished run is a :class:`FinishedRun`.
        """
        record = load_run(folder)
        if record is None:
            return None
        return self._shared(record)

    def _shared(self, record: RunRecord) -> RunRecord:
        """Return an equal record, with parts of earlier records where these are equal."""
        settings = {name: getattr(record.spec, name) for name in OF_SPEC}
        shared = {name: self._one(part.model_dump_json(), part) for name, part in settings.items()}
        update: dict[str, object] = {"spec": record.spec.model_copy(update=shared)}
        if record.data is not None:
            update["data"] = self._with_lists(record.data, OF_DATA)
        if record.curves is not None:
            update["curves"] = self._with_lists(record.curves, OF_CURVES)
        if record.status == "finished":
            return FinishedRun.model_construct(**dict(record) | update)
        return record.model_copy(update=update)

    def _with_lists(self, part: Model, names: tuple[str, ...]) -> Model:
        lists = {name: getattr(part, name) for name in names}
        update = {name: self._one(tuple(values), values) for name, values in lists.items()}
        return part.model_copy(update=update)

    def _one(self, content: Hashable, part: T) -> T:
        """Return the part of this content that came first.

        Args:
            content: equal for equal parts; a part of another type has another content.
            part: kept if it is the first one.
        """
        kept = self._kept.setdefault((type(part), content), part)
        assert isinstance(kept, type(part))
        return kept
