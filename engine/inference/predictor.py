"""Predictions of images of any size by one trained model, or by several together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.data.views.transforms import at_short_side
from encoder_ablations.engine.inference.array_source import Array
from encoder_ablations.engine.inference.combination import Combined
from encoder_ablations.engine.inference.guided_filter import refined
from encoder_ablations.engine.inference.image_votes import ImageVotes, share_out
from encoder_ablations.engine.inference.postprocess import Postprocessing
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.spec import InferenceSpec, PostprocessSpec
from encoder_ablations.engine.inference.views import View, views_of
from encoder_ablations.engine.inference.windows import (
    Block,
    Source,
    as_rgb,
    blended,
    number_of_windows,
)
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.errors import InputError

BATCH_PIXELS = 2**23
"""Most pixels of images that go through the model together: 8 images of 1024×1024."""


@dataclass(frozen=True)
class Member:
    """A trained model.

    Attributes:
        segmenter: in evaluation mode, on its device.
        short_side: what the shorter side of an image, or of a window, is resized to; None = it
            keeps its size. As in the model's own evaluation.
        weight: of its probabilities among those of the others; more than 0.
    """

    segmenter: Segmenter
    short_side: int | None = None
    weight: float = 1.0


class Predictor:
    """One model or several, and how they predict.

    Args:
        members: models of the same classes.
        classes: their names.
        spec: windows, views, and how several predictions become one.
        image_classes: names of the classes of whole images; None = the models predict none.

    Raises:
        InputError: there is no member, or a head needs whole images, unchanged, and would see
            others.
    """

    def __init__(
        self,
        members: Sequence[Member],
        classes: Sequence[str],
        spec: InferenceSpec | None = None,
        image_classes: Sequence[str] | None = None,
    ) -> None:
        if not members:
            raise InputError("a prediction needs at least one model.")
        self.members = list(members)
        self.classes = tuple(classes)
        self.image_classes = image_classes
        self.spec = spec or InferenceSpec()
        self.views = views_of(self.spec.views)
        self.postprocessing = Postprocessing(self.spec.postprocess, self.classes)
        for member in self.members:
            _check_whole(member, self.spec, len(self.views))

    def predict(self, image: np.ndarray, keep_probabilities: bool = True) -> Prediction:
        """Return the prediction of an image.

        Args:
            image: H×W×3 (RGB) or H×W (grey) uint8.
            keep_probabilities: whether the result holds K×H×W probabilities, which need much more
                memory than the mask.

        Raises:
            InputError: it is no such array.
        """
        source = Array(image)
        votes = ImageVotes()
        blocks = self.blocks(source, votes=votes)
        return self._decided(blocks, source.size, votes, keep_probabilities)

    def predict_batch(
        self, images: Sequence[np.ndarray], keep_probabilities: bool = True
    ) -> list[Prediction]:
        """Return the predictions of several images of one size, by common forward passes.

        Args:
            images: each H×W×3 (RGB) or H×W (grey) uint8, and predicted without windows.
            keep_probabilities: see :meth:`predict`.

        Raises:
            InputError: one is no such array.
        """
        sources = [Array(image) for image in images]
        rows, columns = (slice(0, side) for side in sources[0].size)
        votes = [ImageVotes() for _ in sources]
        pixels = np.stack([source.block(rows, columns) for source in sources])
        values = self._predicted(pixels, votes).cpu()
        return [
            self._decided([Block(rows, columns, each)], source.size, own, keep_probabilities)
            for each, source, own in zip(values, sources, votes, strict=True)
        ]

    def takes_together(self, size: tuple[int, int]) -> int:
        """Return how many images of (H, W) a forward pass takes; 1 for those that need windows."""
        if self.windows(size) > 1:
            return 1
        most = BATCH_PIXELS // (size[0] * size[1])
        return max(1, min(self.spec.batch, most))

    def _decided(
        self,
        blocks: Iterable[Block],
        size: tuple[int, int],
        votes: ImageVotes,
        keep_probabilities: bool,
    ) -> Prediction:
        """Return the prediction of an image (H, W) of which these are the blocks and votes."""
        found = Prediction.of(blocks, size, self.classes, keep_probabilities)
        whole = votes.decided(self.image_classes)
        return replace(found, mask=self.postprocessing.of(found.mask), image_class=whole)

    def objects(
        self, image: np.ndarray, class_id: int, score: float = 0.7, share: float = 0.5
    ) -> np.ndarray:
        """Return where the objects of a class lie, by queries that are sure of it: H×W bool.

        Args:
            image: H×W×3 (RGB) or H×W (grey) uint8; it is predicted whole.
            class_id: the class, 0..K-1.
            score: least probability of the class that a query needs, 0..1.
            share: least probability of its mask that a pixel needs, 0..1.

        Raises:
            InputError: the head has no queries, or there are several models, views or windows.
        """
        member = self.only_member("--queries")
        size = Array(image).size
        pixels = self.pixels_for(member, image)
        with torch.inference_mode(), tensor_float32(False):
            maps = member.segmenter.predict(pixels)
            inside = maps.object_masks(class_id, size, score, share)
        found: np.ndarray = inside[0].cpu().numpy()
        return found

    def only_member(self, option: str) -> Member:
        """Return the one model, which sees each image whole and in one view.

        Args:
            option: that needs it, for the message.

        Raises:
            InputError: there are several models, views or windows.
        """
        if len(self.members) > 1 or len(self.views) > 1 or self.spec.window is not None:
            raise InputError(
                f"{option} looks into one model in one view of the whole image. Leave out --runs, "
                f"--tta and --window, or {option}."
            )
        return self.members[0]

    def pixels_for(self, member: Member, image: np.ndarray) -> Tensor:
        """Return an image as a model sees it: 1×3×h×w uint8 on its device, at its own size.

        Args:
            member: the model.
            image: H×W×3 (RGB) or H×W (grey) uint8.

        Raises:
            InputError: it is no such array.
        """
        source = Array(image)
        rows, columns = (slice(0, side) for side in source.size)
        return self._moved(member, source.block(rows, columns)[None])

    def blocks(
        self,
        source: Source,
        advance: Callable[[], object] = lambda: None,
        votes: ImageVotes | None = None,
    ) -> Iterator[Block]:
        """Yield the prediction of an image piece by piece.

        Args:
            source: the image, H×W. Without windows all of it is read at once.
            advance: called after every window.
            votes: collects what is said of the class of the whole image.

        Yields:
            Blocks of K + 1 channels: the probabilities of the K classes, and the mean entropy of
            single predictions, see :class:`.combination.Combined`. They cover every pixel once.
        """
        spec = self.spec
        predicted = partial(self._predicted, votes=[votes or ImageVotes()])
        if spec.window is not None and max(source.size) > spec.window:
            yield from blended(source, spec.window, spec.overlap, spec.batch, predicted, advance)
            return
        rows, columns = (slice(0, side) for side in source.size)
        pixels = as_rgb(source.block(rows, columns))
        yield Block(rows, columns, predicted(pixels[None])[0].cpu())
        advance()

    def windowed(self, window: int) -> "Predictor":
        """Return a predictor by windows: this one, or one with windows of ``window`` pixels.

        Raises:
            InputError: masks are to be cleaned up, which needs them whole.
        """
        if self.spec.postprocess != PostprocessSpec():
            raise InputError(
                "--post needs a whole mask in memory, and rasters are predicted piece by piece. "
                "Leave it out for rasters."
            )
        if self.spec.window is not None:
            return self
        spec = self.spec.model_copy(update={"window": window})
        return Predictor(self.members, self.classes, spec, self.image_classes)

    def windows(self, size: tuple[int, int]) -> int:
        """Return in how many windows an image of (H, W) is predicted."""
        if self.spec.window is None or max(size) <= self.spec.window:
            return 1
        return number_of_windows(size, self.spec.window, self.spec.overlap)

    def _predicted(self, images: np.ndarray, votes: Sequence[ImageVotes]) -> Tensor:
        """Return the values of :meth:`blocks` for images B×h×w×3 uint8, as B×(K+1)×h×w.

        Votes are collected as :func:`.image_votes.share_out` says.
        """
        combined = Combined(self.spec.combine)
        height, width = images.shape[1:3]
        with torch.inference_mode(), tensor_float32(False):
            for member in self.members:
                pixels = self._moved(member, images)
                for view in self.views:
                    maps = _scores(member.segmenter, pixels, view)
                    share_out(votes, maps.image_scores, member.weight, images)
                    found = view.undone(maps.probabilities(view.size((height, width))))
                    combined.add(found, member.weight)
        values = combined.values()
        refine = self.spec.refine
        if refine is None:
            return values
        # a copy: pixels that a library has decoded may be read-only, of which PyTorch warns
        guide = torch.tensor(images).to(values.device).permute(0, 3, 1, 2)
        probabilities = refined(values[:, :-1], guide, refine.radius, refine.epsilon)
        return torch.cat([probabilities, values[:, -1:]], dim=1)

    def _moved(self, member: Member, images: np.ndarray) -> Tensor:
        """Return images B×h×w×3 as B×3×h'×w' on the member's device, at its own size."""
        resized = np.stack([at_short_side(image, member.short_side) for image in images])
        return torch.from_numpy(resized).to(member.segmenter.mean.device).permute(0, 3, 1, 2)


def _scores(segmenter: Segmenter, images: Tensor, view: View) -> ScoreMaps:
    """Return the scores of images B×3×h×w as a view shows them."""
    seen = images
    if view != View():
        seen = view.of(images)
    return segmenter.predict(seen)


def _check_whole(member: Member, spec: InferenceSpec, views: int) -> None:
    """Check that a head which needs whole images, unchanged, sees such.

    Args:
        member: the model.
        spec: windows.
        views: number of views of each image.

    Raises:
        InputError: it would see windows, resized images, or other views.
    """
    if not member.segmenter.head.needs_whole_images:
        return
    if spec.window is not None or views > 1 or member.short_side is not None:
        raise InputError(
            "regions from a folder are found by the content of whole images, which windows, --tta "
            "and short_side change. Leave out --window, --tta and augmentation.short_side, or take "
            "regions from another source (superpixels, sam)."
        )
