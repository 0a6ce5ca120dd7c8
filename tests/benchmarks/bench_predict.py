"""Images per second of the inner loop of ``ablate predict`` against the bare model: files are read
and written beside the model, which computes nothing but labels from images in memory."""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_timing import Timing, compare
from PIL import Image

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.experiments.prediction.folder import predict_files
from encoder_ablations.experiments.prediction.inputs import input_files
from encoder_ablations.experiments.prediction.outputs import Outputs, Wanted
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import HeadSpec, LinearSpec, Mask2FormerSpec

CLASSES = 11
IMAGES = 8
REDUCED = Mask2FormerSpec(
    name="mask2former", queries=20, hidden=128, encoder_layers=2, decoder_layers=3
)
MODELS: list[tuple[HeadSpec, int]] = [(LinearSpec(name="linear"), 512), (REDUCED, 256)]
"""Heads on a ViT-Ti, and the side of the images in pixels."""


def make_photos(folder: Path, side: int) -> list[np.ndarray]:
    """Write JPEGs of smooth noise; return their pixels as they are read."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    photos = []
    for number in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        path = folder / f"{number}.jpg"
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
        photos.append(np.array(Image.open(path)))
    return photos


def bare(segmenter: Segmenter, photos: list[np.ndarray]) -> list[np.ndarray]:
    """Labels of images that are in memory, and nothing else."""
    found = []
    for photo in photos:
        pixels = torch.from_numpy(photo).permute(2, 0, 1)[None]
        with torch.inference_mode():
            labels = segmenter.predict(pixels).labels(photo.shape[:2])
        found.append(labels[0].numpy())
    return found


def whole(predictor: Predictor, photos: Path, outputs: Outputs) -> None:
    """The inner loop of the command: from files to files."""
    shutil.rmtree(outputs.folder, ignore_errors=True)
    outcome = predict_files(input_files([str(photos)]), predictor, outputs)
    assert len(outcome.done) == IMAGES, outcome.problems


def run(seconds: float) -> Iterator[str]:
    """A row for each model with masks alone, and one with masks and overlays."""
    names = tuple(f"class {place}" for place in range(CLASSES))
    colors = [(20 * place, 255 - 20 * place, 128) for place in range(CLASSES)]
    vit = EncoderSpec(name="vit_tiny_patch16_224", weights="random", channels=128)
    for head, side in MODELS:
        segmenter = build_segmenter(head, build_encoder(vit, 0), CLASSES, 0).eval()
        predictor = Predictor([Member(segmenter)], names)
        for overlays in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                photos = make_photos(Path(folder) / "photos", side)
                wanted = Wanted(overlays=overlays)
                outputs = Outputs(Path(folder) / "out", names, colors, wanted)
                ours = partial(whole, predictor, Path(folder) / "photos", outputs)
                timing = compare(ours, partial(bare, segmenter, photos), seconds)
            kinds = "masks + overlays" if overlays else "masks"
            yield timing.line(f"predict, {head.name}, {side}², {kinds} / model", _target(timing))


def _target(timing: Timing) -> str:
    ours, theirs = (1000 * IMAGES / time for time in (timing.ours, timing.theirs))
    return f"target ≤ 1.11; {ours:.1f} and {theirs:.1f} images/s"
