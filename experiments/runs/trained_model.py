"""The model that a run has trained."""

from pathlib import Path

from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.experiments.runs.custom_code import refuse_other_code
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter


def load_best(folder: Path, spec: RunSpec, step: int | None) -> tuple[Segmenter, int]:
    """Return a run's model with its best weights, and the training step that they are of.

    Args:
        folder: of the run.
        spec: of the run.
        step: when the run's record says that the best checkpoint was saved; None = no record.

    Raises:
        InputError: there is no checkpoint, it is damaged or of another run, or the user's own code
            has changed.
    """
    refuse_other_code(spec, [folder])
    path = folder / "checkpoints" / "best.pt"
    checkpoint = load_checkpoint(path, spec.run_id, step)
    # the checkpoint replaces all weights, so that none need be downloaded
    encoder = spec.encoder.model_copy(update={"weights": "random"})
    segmenter = build_model(spec.model_copy(update={"encoder": encoder}))
    load_model(segmenter, checkpoint["model"], path)
    return segmenter, checkpoint["step"]
