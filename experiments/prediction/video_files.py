"""Video files by PyAV: frames are decoded one after the other, and pictures become a video."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing

try:
    import av
except ImportError as error:
    raise missing("av", error) from error

USUAL_RATE = Fraction(25)
"""Frames per second where a file states none."""
TICKS = 120_000
"""Time steps per second of a written video: a frame lasts a whole number at all usual rates."""
SPARE = 1.0
"""Seconds by which a whole video may be shorter than its file states."""


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: counted from 0.
        seconds: when it is shown.
        decoded: what PyAV has decoded.
    """

    number: int
    seconds: float
    decoded: Any

    def image(self) -> np.ndarray:
        """Return the frame as it is shown, H×W×3 uint8 RGB: videos of phones are often turned."""
        pixels = self.decoded.to_ndarray(format="rgb24")
        turned = np.rot90(pixels, round(self.decoded.rotation / 90))
        return np.ascontiguousarray(turned)


class Video:
    """A video file while it is read from its beginning to its end; only one frame lies in memory.

    Args:
        container: the file, opened by PyAV.
        stream: its first video stream.

    Attributes:
        rate: frames per second.
        damage: what is wrong with the file, known when all frames are read; None = it is whole.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self._stream = stream
        self.rate = Fraction(stream.average_rate or USUAL_RATE)
        self.damage: str | None = None
        self._packets = 0
        self._errors = 0

    @property
    def stated_frames(self) -> int:
        """The number of frames that the file states; 0 = it states none."""
        return int(self._stream.frames)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames that can be decoded, in the order in which they are shown.

        What cannot be decoded is left out, and then :attr:`damage` says so.
        """
        number = 0
        end = 0.0
        for decoded in self._decoded():
            seconds = decoded.time
            if seconds is None:
                seconds = float(number / self.rate)
            self._errors += decoded.is_corrupt
            yield Frame(number, seconds, decoded)
            number += 1
            end = seconds + float(1 / self.rate)
        self.damage = self._damage(number, end)

    def _decoded(self) -> Iterator[Any]:
        """Yield PyAV's frames; count the packets, and the errors of reading and decoding."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self._errors += 1
                return
            self._packets += packet.size > 0
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._errors += 1
                continue
            yield from frames

    def _damage(self, number: int, end: float) -> str | None:
        """Return what is wrong after ``number`` frames, the last of which ends at ``end`` s."""
        # packets, not frames: a player leaves out frames that were trimmed away
        if self._packets < self.stated_frames:
            return f"it ends after {number} of {self.stated_frames} frames"
        if end + SPARE < self._stated_end():
            return f"it ends after {end:.1f} of {self._stated_end():.1f} s"
        if self._errors:
            return f"{self._errors} of about {number} frames are damaged"
        return None

    def _stated_end(self) -> float:
        """Return when the file says that its last frame ends, in seconds; 0 = it does not say."""
        stream = self._stream
        if stream.duration is not None:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        return _seconds(stream.metadata.get("DURATION", ""))


def _seconds(text: str) -> float:
    """Return the seconds of "01:02:03.5", as Matroska files state them; 0 for another text."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


@contextmanager
def opened_video(path: Path) -> Iterator[Video]:
    """Open a video file.

    Raises:
        InputError: it is no video, is damaged at its beginning, or holds no pictures.
    """
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as a video: {error.strerror}. Check that it plays, or convert "
            "it to MP4."
        ) from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} holds no video stream, so there is nothing to predict.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield Video(container, stream)


def chosen_frames(path: Path, numbers: Collection[int]) -> Iterator[Frame]:
    """Yield the frames with the given numbers.

    Raises:
        InputError: as :func:`opened_video`.
    """
    last = max(numbers, default=-1)
    with opened_video(path) as video:
        for frame in video.frames():
            if frame.number in numbers:
                yield frame
            if frame.number >= last:
                return


def write_pictures(
    file: IO[bytes], pictures: Iterable[tuple[float, np.ndarray]], rate: Fraction
) -> None:
    """Write pictures as an MP4 (H.264) without sound.

    Args:
        file: open for writing.
        pictures: when each is shown, in seconds, and the picture, H×W×3 uint8 RGB. The first one is
            shown at once. All get the size of the first one, and a side of even length.
        rate: pictures per second, for players that ask for it.
    """
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        begin = 0.0
        shown = -1
        for seconds, pixels in pictures:
            if shown < 0:
                begin = seconds
                stream.height, stream.width = (side + side % 2 for side in pixels.shape[:2])
            # damaged files may repeat a time, which players refuse
            shown = max(shown + 1, round((seconds - begin) * TICKS))
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture = picture.reformat(stream.width, stream.height, "yuv420p")
            picture.pts = shown
            picture.time_base = Fraction(1, TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
