"""What an export has written, in numbers and sentences."""

from dataclasses import dataclass
from typing import NamedTuple

from encoder_ablations.engine.export.comparison import Comparison
from encoder_ablations.engine.export.spec import ExportSpec
from encoder_ablations.utils.texts import plural

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "hf": "model.safetensors"}
"""The file of the weights in each format."""


class Sized(NamedTuple):
    """A size that photos must have, and why.

    Attributes:
        size: (H, W); None = any.
        reason: for a sentence; "" without a size.
    """

    size: tuple[int, int] | None
    reason: str = ""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        spec: the settings.
        sized: the size that photos must have.
        source: what the comparison was made on.
        comparison: with the run.
        bytes: of the model's file.
    """

    spec: ExportSpec
    sized: Sized
    source: str
    comparison: Comparison
    bytes: int

    @property
    def agreement(self) -> str:
        """How far the exported model agrees with its run, in a sentence."""
        compared = self.comparison
        whole = ""
        if compared.differing_images is not None:
            whole = (
                f" The class of the whole image differs on {compared.differing_images} of "
                f"{plural(compared.images, 'image')}."
            )
        return (
            f"Labels differ from the run's on {compared.differing} of {compared.pixels} pixels "
            f"({100 * compared.share:.4f} %), probabilities by {compared.largest_difference:.1e} "
            f"at most.{whole} They were compared on {self.source.removesuffix('.')}."
        )

    @property
    def timing(self) -> str:
        """How long both take, in a sentence."""
        compared = self.comparison
        return (
            f"One photo takes {1000 * compared.exported_seconds:.1f} ms, and "
            f"{1000 * compared.seconds:.1f} ms in PyTorch ({compared.speed:.2f} times the speed; "
            "on the CPU of the machine that exported it)."
        )
