"""Predict files in turn, while threads read the next ones and write what has been predicted."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.ahead import ahead
from encoder_ablations.experiments.prediction.inputs import InputFile
from encoder_ablations.experiments.prediction.outputs import Insight, Outputs, described, scored
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError, write_json

if TYPE_CHECKING:
    from encoder_ablations.experiments.prediction.raster_output import Maps

THREADS = 2
"""Threads that read and write files, unless another number is asked for."""


class VideoOutcome(NamedTuple):
    """What has been predicted of a video.

    Attributes:
        names: of its predicted frames.
        damage: what is wrong with the file; None = it is whole.
    """

    names: list[str]
    damage: str | None


class VideoWriter(Protocol):
    """Predicts videos, see :class:`.video_output.Videos`."""

    def write(self, name: str, path: Path) -> VideoOutcome:
        """Predict the frames of a video under a name."""


class Others(NamedTuple):
    """What writes of files that are no images; None = no file needs it.

    Attributes:
        maps: of rasters.
        videos: of videos.
    """

    maps: "Maps | None" = None
    videos: VideoWriter | None = None


NO_OTHERS = Others()


class Pipeline:
    """Predicts files into one folder; the model computes in the thread that calls it.

    Images wait in short queues: as many as there are threads, and as many as go through the model
    together. What is written does not depend on the number of threads.

    Args:
        predictor: for images.
        outputs: what is written of images.
        others: what is written of rasters and videos.
        threads: that read and write files, at least 1.

    Attributes:
        problems: why a file could not be used, by the file's name.
        videos: what has been predicted of each video, by the file's name.
    """

    def __init__(
        self,
        predictor: Predictor,
        outputs: Outputs,
        others: Others = NO_OTHERS,
        threads: int = THREADS,
    ) -> None:
        self.problems: dict[str, str] = {}
        self.videos: dict[str, VideoOutcome] = {}
        self._predictor = predictor
        self._outputs = outputs
        self._others = others
        self._threads = threads
        self._waiting: deque[tuple[InputFile, Future[None]]] = deque()

    def run(self, files: Iterable[InputFile], advance: Callable[[], object]) -> None:
        """Predict all files and write everything about them.

        An error or Ctrl-C ends it when the files that are being written are whole.

        Args:
            files: each is predicted, whether or not it has been before.
            advance: called when a file is finished or could not be used.

        Raises:
            StorageError: nothing can be written any more.
        """
        with ThreadPoolExecutor(self._threads, thread_name_prefix="files") as pool:
            try:
                for group in self._groups(files, pool):
                    self._predict(group, pool)
                    self._settle(self._threads, advance)
                self._settle(0, advance)
            finally:
                pool.shutdown(cancel_futures=True)

    def _groups(self, files: Iterable[InputFile], pool: Executor) -> Iterator[list["_Read"]]:
        """Yield the files in turn; images that go through the model together in one list."""
        group: list[_Read] = []
        most = self._threads + self._predictor.spec.batch - 1
        for file, result in ahead(pool, self._read, files, most):
            read = _Read(file, result)
            if group and not self._joins(read, group):
                yield group
                group = []
            group.append(read)
        if group:
            yield group

    def _read(self, file: InputFile) -> Sample | None:
        """Return the image; None = a map or a video, which is not read as a whole.

        Raises:
            InputError: the file is damaged.
        """
        maps = self._others.maps
        if file.is_video or (maps is not None and maps.takes(file.path)):
            return None
        return file.read()

    def _joins(self, read: "_Read", group: Sequence["_Read"]) -> bool:
        """Return whether a file goes through the model together with those before it."""
        size = read.size
        if size is None or size != group[-1].size:
            return False
        return len(group) < self._predictor.takes_together(size)

    def _predict(self, group: Sequence["_Read"], pool: Executor) -> None:
        """Predict files and have their outputs written; note what is wrong with a file."""
        try:
            samples = [read.result.result() for read in group]
            self._predict_samples([read.file for read in group], samples, pool)
        except StorageError:
            raise
        except InputError as error:
            self.problems |= {read.file.name: _problem(read.file, error) for read in group}
            for read in group:
                self._waiting.append((read.file, _done()))

    def _predict_samples(
        self, files: Sequence[InputFile], samples: Sequence[Sample | None], pool: Executor
    ) -> None:
        """Predict a map, a video, an image, or several images of one size."""
        images = [sample for sample in samples if sample is not None]
        if not images:
            self._write_other(files[0])
            self._waiting.append((files[0], _done()))
            return
        for file, sample, prediction in zip(files, images, self._predictions(images), strict=True):
            # it needs the model, which computes in this thread alone
            insight = self._outputs.insight(sample, prediction, self._predictor)
            writing = pool.submit(self._write, file, sample, prediction, insight)
            self._waiting.append((file, writing))

    def _predictions(self, samples: Sequence[Sample]) -> list[Prediction]:
        keep = self._outputs.needs_probabilities
        if len(samples) == 1:
            return [self._predictor.predict(samples[0].image, keep)]
        return self._predictor.predict_batch([sample.image for sample in samples], keep)

    def _write_other(self, file: InputFile) -> None:
        """Predict a video frame by frame or a raster piece by piece, and write the results."""
        if file.is_video:
            assert self._others.videos is not None
            self.videos[file.name] = self._others.videos.write(file.name, file.path)
            return
        assert self._others.maps is not None
        description = self._others.maps.write(file.name, file.path)
        write_json(self._outputs.description(file.name), description)

    def _write(
        self, file: InputFile, sample: Sample, prediction: Prediction, insight: Insight
    ) -> None:
        """Write everything about an image; its description last, which says that it is whole."""
        self._outputs.write(file.name, sample, prediction, insight)
        description = described(file.name, file.path, prediction) | scored(sample, prediction)
        write_json(self._outputs.description(file.name), description)

    def _settle(self, most: int, advance: Callable[[], object]) -> None:
        """Wait until at most so many files are still being written.

        Raises:
            StorageError: one of the others could not be written.
        """
        while len(self._waiting) > most:
            file, writing = self._waiting.popleft()
            try:
                writing.result()
            except StorageError:
                raise
            except InputError as error:
                self.problems[file.name] = _problem(file, error)
            advance()


def _problem(file: InputFile, error: InputError) -> str:
    """Return why a file could not be used, with its path."""
    text = str(error)
    if str(file.path) in text:
        return text
    return f"{file.path}: {text}"


class _Read(NamedTuple):
    """A file that is being read.

    Attributes:
        file: the file.
        result: the image, None for a map or a video, or why it cannot be read.
    """

    file: InputFile
    result: Future[Sample | None]

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the image; None for a map, a video, and a file that cannot be read."""
        if self.result.exception() is not None:
            return None
        sample = self.result.result()
        if sample is None:
            return None
        height, width = sample.image.shape[:2]
        return height, width


def _done() -> Future[None]:
    """Return a future of work that has been done."""
    future: Future[None] = Future()
    future.set_result(None)
    return future
