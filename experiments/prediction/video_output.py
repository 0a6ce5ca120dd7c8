"""Predictions of videos: every frame as an image, and the overlays as a video again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.outputs import Outputs, predict_image
from encoder_ablations.experiments.prediction.pipeline import VideoOutcome
from encoder_ablations.experiments.prediction.video_files import (
    Frame,
    Video,
    opened_video,
    write_pictures,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json, write_with
from encoder_ablations.utils.progress import Bar

FOLDER = "videos"
"""Holds an overlay video and a description of each video."""


class Videos:
    """Predicts the frames of videos into one folder.

    Args:
        predictor: predicts every frame by itself.
        outputs: what is written of a frame.
        every: 1 = every frame is predicted, N = frames 0, N, 2N …
    """

    def __init__(self, predictor: Predictor, outputs: Outputs, every: int = 1) -> None:
        self.predictor = predictor
        self.outputs = outputs
        self.every = every

    def write(self, name: str, path: Path) -> VideoOutcome:
        """Predict all frames that are not complete yet, then write the overlay video.

        Args:
            name: of the outputs.
            path: of the video.

        Raises:
            InputError: the video cannot be read, or none of its frames.
        """
        described = self.outputs.path(FOLDER, name, "json")
        if not described.exists():
            write_json(described, self._predicted(name, path))
        video = json.loads(described.read_text(encoding="utf-8"))
        names = [frame_name(name, number) for number in video["frames"]]
        return VideoOutcome(names, video["damage"])

    def _predicted(self, name: str, path: Path) -> dict[str, Any]:
        """Predict a video and return its description."""
        frames = []
        with opened_video(path) as video:
            for frame in self._wanted(video):
                self._predict_frame(name, path, frame)
                frames.append(frame._replace(decoded=None))
        if not frames:
            raise InputError(f"{path} is damaged: none of its frames can be decoded.")
        if self.outputs.wanted.overlays:
            overlays, rate = self._overlays(name, frames), video.rate / self.every
            path_of_video = self.outputs.path(FOLDER, name, "mp4")
            write_with(path_of_video, lambda file: write_pictures(file, overlays, rate))
        return {
            "name": name,
            "video": str(path),
            "frames_per_second": float(video.rate),
            "every": self.every,
            "damage": video.damage,
            "frames": [frame.number for frame in frames],
        }

    def _wanted(self, video: Video) -> Iterator[Frame]:
        """Yield every N-th frame, with progress."""
        total = video.stated_frames or None
        with Bar(total=total, unit="frame") as bar:
            for frame in video.frames():
                if frame.number % self.every == 0:
                    yield frame
                bar.update()

    def _predict_frame(self, video: str, path: Path, frame: Frame) -> None:
        name = frame_name(video, frame.number)
        if self.outputs.is_complete(name):
            return
        image = frame.image()
        sample = Sample(image, None, name, (image.shape[0], image.shape[1]), name)
        facts = {"frame": frame.number, "seconds": round(frame.seconds, 6)}
        predict_image(name, path, sample, self.predictor, self.outputs, facts)

    def _overlays(self, name: str, frames: Sequence[Frame]) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the time and the overlay of each frame.

        The overlays are read from their files, so that it does not matter how often the prediction
        was interrupted.
        """
        for frame in frames:
            path = self.outputs.path("overlays", frame_name(name, frame.number), "jpg")
            with Image.open(path) as overlay:
                yield frame.seconds, np.asarray(overlay)


def frame_name(video: str, number: int) -> str:
    """Return the name of a frame's outputs."""
    return f"{video}/frame_{number:06d}"
