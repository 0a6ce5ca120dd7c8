"""Finished runs that predict."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.prediction.models import check_window
from encoder_ablations.experiments.runs.model import Weighting, member_of
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.trained.run import TrainedRun, trained_run
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

Image = np.ndarray | str | Path


class Ensemble:
    """The models of finished runs, which predict together.

    The models are loaded when they first predict.

    Args:
        runs: of the same classes.
        device: "auto" (a GPU if PyTorch sees one), "cpu", "cuda" or "cuda:N".
        weighting: "equal", or "validation": every model counts by its best validation score.

    Attributes:
        classes: names of the K classes.
    """

    def __init__(
        self, runs: Sequence[TrainedRun], device: str = "auto", weighting: Weighting = "equal"
    ) -> None:
        self.classes = runs[0].record.spec.dataset.classes
        self._runs = list(runs)
        self._device = device
        self._weighting: Weighting = weighting

    @property
    def records(self) -> list[RunRecord]:
        """The records of all runs."""
        return [run.record for run in self._runs]

    def predict(
        self,
        image: Image,
        *,
        window: int | None = None,
        tta: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Prediction:
        """Return the prediction of an image of any size.

        ``.mask`` are class ids H×W, ``.uncertainty`` H×W in 0..1, ``.probabilities`` K×H×W.

        Args:
            image: a file, or an array H×W×3 (RGB) or H×W (grey) of uint8.
            window: side in pixels of square windows for larger images; None = the whole image at
                once.
            tta: other views of the image that are predicted, too, such as
                ``{"flips": ["horizontal"], "scales": [0.75, 1.25]}``.
            settings: other keys of :class:`~encoder_ablations.engine.inference.spec.InferenceSpec`:
                ``overlap``, ``batch``, ``combine``, ``refine``, ``postprocess``.

        Raises:
            InputError: the file cannot be read, the array is no image, or a setting is wrong.
        """
        if "views" in settings:
            raise InputError("the views of a prediction are called tta here: tta={...}.")
        content = {"window": window, "views": tta or {}, **settings}
        spec = build(InferenceSpec, content, "the settings of the prediction")
        for member in self._members:
            check_window(spec, member.segmenter.encoder.divisibility)
        return Predictor(self._members, self.classes, spec).predict(_pixels(image))

    @cached_property
    def _members(self) -> list[Member]:
        device: torch.device = make_accelerator(self._device).device
        return [member_of(run, device, self._weighting) for run in self._runs]


class Run(Ensemble):
    """A finished run: its record, its model, its predictions.

    Args:
        run: with its folder.
        device: see :class:`Ensemble`.

    Attributes:
        folder: of the run.
        record: its specification and all that was measured.
    """

    def __init__(self, run: TrainedRun, device: str = "auto") -> None:
        super().__init__([run], device)
        self.folder = run.folder
        self.record = run.record

    @property
    def model(self) -> Segmenter:
        """The segmenter with its best weights, in evaluation mode: it takes B×3×H×W, RGB 0..255."""
        return self._members[0].segmenter


def load_run(folder: str | Path, *, device: str = "auto") -> Run:
    """Return the finished run in a folder.

    Args:
        folder: ``outputs/STUDY/runs/RUN``.
        device: where its model computes, "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: there is no run, it has not finished, failed, gives no masks, or was trained in
            Detectron2.
    """
    return Run(trained_run(Path(folder)), device)


def _pixels(image: Image) -> np.ndarray:
    """Return an image as an array, read from its file if it is one.

    Raises:
        InputError: it is neither an array nor a file, or the file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | Path):
        return read_image(Path(image))
    raise InputError(
        f"an image is a file or an array H×W×3 of uint8, not a {type(image).__name__}. "
        "numpy.asarray(image) makes an array of a PIL image."
    )
