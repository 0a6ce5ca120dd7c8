"""A finished run with its folder."""

from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.runs.folder import CONFIG, load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class TrainedRun:
    """A finished run with its folder."""

    folder: Path
    record: RunRecord

    @property
    def val_score(self) -> float:
        """The best score on the validation split, 0..1; -1 where nothing is labelled.

        It is -1, too, where the head does not learn by steps, so that nothing was validated.
        """
        if self.record.convergence is None:
            return -1.0
        score = self.record.convergence.best_val_score
        if score is None:
            return -1.0
        return score


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
