"""The confidence threshold of pseudo-labels, chosen on the validation images.

The rule is that of selective classification (Geifman and El-Yaniv, Selective Classification for
Deep Neural Networks, NeurIPS 2017): the lowest threshold at which the kept pixels have at most a
wanted share of errors, so that as many pixels as possible are kept. Their bound on the error is for
independent samples. Pixels of an image are not, so it is left out here: the precision is that which
was measured. All classes have one threshold.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from filelock import FileLock
from pydantic import ValidationError

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.runs.record_parts import ThresholdRecord
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable, write_json

THRESHOLDS = np.arange(100, dtype=np.float32) / np.float32(100)
"""That are tried: 0, 0.01 … 0.99. In float32, as probabilities are."""
FILE = "threshold.json"


def threshold_from_val(
    folder: Path,
    labels: PseudoLabelSpec,
    val: FolderDataset,
    load: Callable[[], Predictor],
) -> ThresholdRecord | None:
    """Return the threshold that validation images give; None where the study states a number.

    It is kept in the folder of the masks, so that all runs of a study, and a run that goes on, have
    the same.

    Args:
        folder: of the predicted masks.
        labels: the teacher, and how its threshold is found.
        val: the validation images, with their masks.
        load: returns the teacher's predictor; called if the threshold is not there yet.

    Raises:
        InputError: no threshold reaches the precision, no pixel of val is labelled, or the file of
            an earlier start is damaged.
    """
    if labels.precision is None:
        return None
    path = folder / FILE
    if not path.exists():
        ensure_writable(folder)
        with FileLock(folder / ".threshold.lock", fallback_to_soft=False):
            if not path.exists():
                kept, right = count_kept(load(), (val[index] for index in range(len(val))))
                chosen = choose(kept, right, labels.precision)
                write_json(path, chosen.model_dump(mode="json"))
    return _read(path)


def threshold_of(labels: PseudoLabelSpec, chosen: ThresholdRecord | None) -> float:
    """Return the threshold of a run: what validation images gave, or the study's number.

    Args:
        labels: the run's setting.
        chosen: see :func:`threshold_from_val`.
    """
    if chosen is not None:
        return chosen.threshold
    assert labels.threshold != "val"
    return labels.threshold


def of_threshold(chosen: ThresholdRecord | None, reported: Split) -> str:
    """Return sentences about a chosen threshold, with a space behind each; empty without one.

    Args:
        chosen: see :func:`threshold_from_val`.
        reported: the split that the run's number is of.
    """
    if chosen is None:
        return ""
    said = (
        f"It is the lowest one at which the kept pixels of the validation images have a precision "
        f"of {chosen.wanted_precision:g}: {100 * chosen.precision:.1f} % of the "
        f"{100 * chosen.share_of_pixels:.1f} % that are kept are right. "
    )
    if reported == "val":
        said += "The score is of the same images, as there are no test images. "
    return said


def count_kept(predictor: Predictor, samples: Iterable[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Return how many labelled pixels reach each of :data:`THRESHOLDS`, and how many are right.

    Args:
        predictor: of the teacher.
        samples: images with their masks.

    Returns:
        Two int64 arrays, as long as :data:`THRESHOLDS`.
    """
    kept = np.zeros(len(THRESHOLDS), np.int64)
    right = kept.copy()
    for sample in samples:
        assert sample.mask is not None
        prediction = predictor.predict(sample.image)
        assert prediction.probabilities is not None
        labelled = sample.mask != sample.ignore
        confidence = prediction.probabilities.max(axis=0)[labelled]
        hits = prediction.mask[labelled] == sample.mask[labelled]
        kept += _reaching(confidence)
        right += _reaching(confidence[hits])
    return kept, right


def _reaching(confidence: np.ndarray) -> np.ndarray:
    """Return how many of the values (N,) float32 reach each threshold."""
    # a value that reaches n thresholds reaches the first n of them
    reached = np.searchsorted(THRESHOLDS, confidence, side="right")
    counts = np.bincount(reached, minlength=len(THRESHOLDS) + 1)
    found: np.ndarray = counts[::-1].cumsum()[::-1][1:]
    return found


def choose(kept: np.ndarray, right: np.ndarray, precision: float) -> ThresholdRecord:
    """Return the lowest threshold whose kept pixels have at least a precision, and the curve.

    Args:
        kept: pixels that reach each of :data:`THRESHOLDS`.
        right: how many of them have the right class.
        precision: wanted share of ``right`` in ``kept``, 0..1.

    Raises:
        InputError: no threshold has it, or there is no pixel at all.
    """
    if not kept[0]:
        raise InputError(
            "pseudo_labels.threshold: val needs labelled validation pixels, and there are none. "
            "Give a number such as 0.9."
        )
    some = kept > 0
    # where nothing is kept there is no precision
    shares = right[some] / kept[some]
    reaching = np.flatnonzero(shares >= precision)
    if not len(reaching):
        best = int(shares.argmax())
        raise InputError(
            f"pseudo_labels.precision: at no threshold have the kept pixels of val a precision of "
            f"{precision:g}; the highest is {shares[best]:.3f}, at {THRESHOLDS[best]:.2f}. Give a "
            "lower precision, a number as threshold, or another teacher."
        )
    first = int(reaching[0])
    curve = (kept[some] / kept[0]).tolist()
    return ThresholdRecord(
        threshold=_rounded(THRESHOLDS[first]),
        wanted_precision=precision,
        precision=float(shares[first]),
        share_of_pixels=curve[first],
        n_pixels=int(kept[0]),
        thresholds=[_rounded(each) for each in THRESHOLDS[some]],
        precisions=shares.tolist(),
        shares_of_pixels=curve,
    )


def _rounded(threshold: np.float32) -> float:
    """Return a threshold as it is written: 0.07 instead of 0.07000000029802322."""
    return round(float(threshold), 2)


def _read(path: Path) -> ThresholdRecord:
    """Return the threshold that an earlier start has chosen.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return ThresholdRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(
            f"{path}, the threshold of predicted masks, is damaged. Delete its folder, and the "
            "same command predicts the masks again."
        ) from error
