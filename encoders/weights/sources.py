"""Where an encoder's weights come from: a package, the Hugging Face hub, or a local file."""

from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.encoders.weights.hub import download_weights
from encoder_ablations.encoders.weights.local_files import local_weights
from encoder_ablations.encoders.weights.packages import PACKAGED
from encoder_ablations.utils.files import sha256_of


@dataclass(frozen=True)
class WeightFile:
    """A weight file on this machine.

    Attributes:
        source: where it comes from, in words.
        path: the file.
    """

    source: str
    path: Path

    def facts(self) -> dict[str, str]:
        """Return what a run's record says of it: its source, name and SHA-256."""
        return {"source": self.source, "file": self.path.name, "sha256": sha256_of(self.path)}


def find_weights(weights: str, name: str) -> WeightFile | None:
    """Return the file of the weights that a specification asks for; None for random ones.

    Args:
        weights: "pretrained", "random", or the path of a file or folder.
        name: timm's name of the pretrained ones.

    Raises:
        InputError: pretrained ones cannot be had, or there is no such file; the message says how
            to go on.
    """
    if weights == "random":
        return None
    if weights != "pretrained":
        return WeightFile("local file", local_weights(weights))
    if name in PACKAGED:
        return WeightFile(PACKAGED[name].source, PACKAGED[name].path())
    return WeightFile(f"Hugging Face hub, timm's {name}", download_weights(name))
