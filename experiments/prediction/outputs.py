"""What is written about one predicted image."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

from encoder_ablations.data.datasets.palette import Color
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou, number_or_none, pixel_accuracy
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.inference.similarity import PatchFeatures, patch_features
from encoder_ablations.experiments.prediction.cut_outs import CutOut
from encoder_ablations.experiments.prediction.pictures import heat_picture, overlaid, write_image
from encoder_ablations.utils.files import write_json, write_with


class Explanation(Protocol):
    """Makes a picture of what speaks for a class, see :class:`.explanation.GradCam`."""

    def picture(
        self, image: np.ndarray, prediction: Prediction, predictor: Predictor
    ) -> Image.Image | None:
        """Return the picture of an image H×W×3 uint8; None where there is nothing to explain."""


class Wanted(NamedTuple):
    """What is written of an image beside mask and overlay.

    Attributes:
        uncertainty: a picture of the uncertainty, bright = uncertain.
        heatmaps: a picture of each class's probability.
        probabilities: all probabilities as a compressed NumPy file of float16.
        cut_out: the pixels of one class; None = they are not cut out.
        grad_cam: a heat map of what speaks for a class; None = none is made.
        similarity: numbers by which the gallery shows similar patches.
        overlays: the image under the classes' colours.
    """

    uncertainty: bool = False
    heatmaps: bool = False
    probabilities: bool = False
    cut_out: CutOut | None = None
    grad_cam: Explanation | None = None
    similarity: bool = False
    overlays: bool = True


MASK_AND_OVERLAY = Wanted()


class Insight(NamedTuple):
    """What only the model can tell of an image; None = it is not wanted.

    Attributes:
        cut_out: the pixels of one class.
        grad_cam: what speaks for a class; None also where the image has no pixel of it.
        patches: by which the gallery shows similar patches.
    """

    cut_out: Image.Image | None = None
    grad_cam: Image.Image | None = None
    patches: PatchFeatures | None = None


NO_INSIGHT = Insight()


class Outputs:
    """The files of one folder of predictions.

    The description of an image is written last: an image that has one is complete.

    Args:
        folder: where they lie.
        classes: names of the K classes.
        colors: of the classes.
        wanted: what is written beside mask and overlay.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        colors: Sequence[Color],
        wanted: Wanted = MASK_AND_OVERLAY,
    ) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.colors = tuple(colors)
        self.wanted = wanted

    @property
    def needs_probabilities(self) -> bool:
        """Whether the probabilities of all classes are needed, which take much memory."""
        return self.wanted.heatmaps or self.wanted.probabilities

    def description(self, name: str) -> Path:
        """Return the file that describes an image."""
        return self.folder / "json" / f"{name}.json"

    def complete(self) -> list[str]:
        """Return the names of all images that are complete, in alphabetical order."""
        folder = self.folder / "json"
        return sorted(
            path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")
        )

    def is_complete(self, name: str) -> bool:
        """Return whether everything about an image has been written."""
        return self.description(name).exists()

    def insight(self, sample: Sample, prediction: Prediction, predictor: Predictor) -> Insight:
        """Return what is wanted of an image that only its model can tell.

        Args:
            sample: the image.
            prediction: of the image.
            predictor: that it is of.

        Raises:
            InputError: queries are to tell what is cut out, and there are none; or a heat map is of
                a region outside of the image.
        """
        wanted, image = self.wanted, sample.image
        cut_out, heated, patches = None, None, None
        if wanted.cut_out is not None:
            cut_out = wanted.cut_out.of(image, prediction, predictor)
        if wanted.grad_cam is not None:
            heated = wanted.grad_cam.picture(image, prediction, predictor)
        if wanted.similarity:
            patches = patch_features(predictor, image)
        return Insight(cut_out, heated, patches)

    def write(
        self, name: str, sample: Sample, prediction: Prediction, insight: Insight = NO_INSIGHT
    ) -> None:
        """Write the mask, the overlay, the truth if there is one, and what else is wanted.

        Args:
            name: of the files.
            sample: the image.
            prediction: of the image, with probabilities where they are needed.
            insight: see :meth:`insight`.
        """
        self._write_insight(name, insight)
        self._write_ids("masks", name, prediction.mask)
        if sample.mask is not None:
            self._write_ids("truth", name, sample.mask.astype(prediction.mask.dtype))
        if self.wanted.overlays:
            overlay = Image.fromarray(overlaid(sample.image, prediction.mask, self.colors))
            write_image(self.path("overlays", name, "jpg"), overlay)
        if self.wanted.uncertainty:
            picture = heat_picture(prediction.uncertainty)
            write_image(self.path("uncertainty", name, "png"), picture)
        probabilities = prediction.probabilities
        if probabilities is None:
            return
        if self.wanted.heatmaps:
            for label, share in zip(prediction.classes, probabilities, strict=True):
                path = self.path("heatmaps", f"{name}.{_file_name(label)}", "png")
                write_image(path, heat_picture(share))
        if self.wanted.probabilities:
            path = self.path("probabilities", name, "npz")
            halves, labels = probabilities.astype(np.float16), np.array(prediction.classes)
            write_with(
                path,
                lambda file: np.savez_compressed(file, probabilities=halves, classes=labels),
            )

    def _write_insight(self, name: str, insight: Insight) -> None:
        """Write the cut-out, the heat map and the features of patches, as far as there are any."""
        if insight.cut_out is not None:
            write_image(self.path("cut_outs", name, "png"), insight.cut_out)
        if insight.grad_cam is not None:
            write_image(self.path("grad_cam", name, "png"), insight.grad_cam)
        if insight.patches is not None:
            numbers = insight.patches._asdict()
            write_with(
                self.path("similarity", name, "npz"),
                lambda file: np.savez_compressed(file, **numbers),
            )

    def _write_ids(self, kind: str, name: str, mask: np.ndarray) -> None:
        """Write class ids as a PNG: with the classes' colours as its palette, or in 16 bits."""
        ids = Image.fromarray(mask)
        if mask.dtype == np.uint8:
            ids.putpalette(np.array(self.colors, np.uint8).tobytes())
        write_image(self.path(kind, name, "png"), ids)

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Return the file of one kind of output about an image."""
        return self.folder / kind / f"{name}.{suffix}"


def predict_image(
    name: str,
    path: Path,
    sample: Sample,
    predictor: Predictor,
    outputs: Outputs,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Predict one image and write everything about it, its description last.

    Args:
        name: of the files.
        path: of the image, or of the video that it is a frame of.
        sample: the image.
        predictor: predicts it.
        outputs: what is written.
        facts: what the description says, too.
    """
    found = predictor.predict(sample.image, keep_probabilities=outputs.needs_probabilities)
    outputs.write(name, sample, found, outputs.insight(sample, found, predictor))
    description = described(name, path, found) | scored(sample, found) | dict(facts)
    write_json(outputs.description(name), description)


def _file_name(label: str) -> str:
    """Return a class's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", label)


def described(name: str, path: Path, prediction: Prediction) -> dict[str, Any]:
    """Return what a program wants to know of a prediction: sizes, areas, mean uncertainty."""
    height, width = prediction.mask.shape
    total = height * width
    whole = {}
    if prediction.image_class is not None:
        whole["image_class"] = asdict(prediction.image_class)
    return {
        "name": name,
        "image": str(path),
        "height": height,
        "width": width,
        "pixels": dict(prediction.pixels),
        "share": {label: count / total for label, count in prediction.pixels.items()},
        "mean_uncertainty": float(prediction.uncertainty.mean()),
        "mean_disagreement": float(prediction.disagreement.mean()),
        **whole,
    }


def scored(sample: Sample, prediction: Prediction) -> dict[str, Any]:
    """Return the scores of one image, 0..1, as far as it has a mask; None = nothing is labelled."""
    if sample.mask is None:
        return {}
    mask, truth = torch.from_numpy(prediction.mask).long(), torch.from_numpy(sample.truth)
    counts = ConfusionMatrix.of(mask, truth, len(prediction.classes))
    return {
        "miou": number_or_none(mean_iou(counts)),
        "pixel_accuracy": number_or_none(pixel_accuracy(counts)),
    }
