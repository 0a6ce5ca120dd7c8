"""A finished run with its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.runs.folder import CONFIG, load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names


@dataclass(frozen=True)
class TrainedRun:
    """A finished run with its folder."""

    folder: Path
    record: RunRecord

    @property
    def val_score(self) -> float | None:
        """The best score on the validation split, 0..1; None where nothing is labelled there.

        Of a head that takes no training steps it is the only one.
        """
        if self.record.convergence is not None:
            return self.record.convergence.best_val_score
        assert self.record.curves is not None
        return next(iter(self.record.curves.val_score), None)


def ranked(runs: Sequence[TrainedRun]) -> tuple[list[TrainedRun], str | None]:
    """Return runs with the best validation score first, and what to say of those without one.

    Runs without a score follow in their order. Of equals the first one stays first.

    Args:
        runs: finished ones.
    """
    scored = [run for run in runs if run.val_score is not None]
    others = [run for run in runs if run.val_score is None]
    in_order = sorted(scored, key=lambda run: -(run.val_score or 0.0))
    if not others:
        return in_order, None
    names = first_names([run.record.run_id for run in others])
    note = f"{names}: no validation score, because no pixel of val is labelled; ranked last."
    return in_order + others, note


def trained_run(folder: Path) -> TrainedRun:
    """Return the finished run in a folder.

    Raises:
        InputError: there is no run, it has not finished, failed, gives no masks, or was trained in
            Detectron2.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Name the folder of a run or of a study.")
    record = load_run(folder)
    if record is None:
        state = "is no run."
        if (folder / CONFIG).exists():
            state = "has not finished. The same ablate run goes on with it."
        raise InputError(f"{folder} {state}")
    if record.error is not None:
        raise InputError(
            f"the run {record.run_id} failed ({record.error.line}), so there is no model. Repeat "
            "it with the same ablate run."
        )
    if record.spec.detectron2 is not None:
        raise InputError(
            f"the run {record.run_id} was trained in Detectron2; use its model there "
            f"(MODEL.WEIGHTS {folder / 'model_best.pth'})."
        )
    if record.task == "classification":
        raise InputError(
            f"the run {record.run_id} classifies whole images and gives no masks. Choose a run on "
            "a dataset with masks."
        )
    return TrainedRun(folder, record)
