"""Where local weights lie; asking imports no PyTorch."""

from pathlib import Path

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError

IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
"""Files of weights in a folder of transformers, in the order of preference."""


def local_weights(given: str) -> Path:
    """Return the file of weights that an encoder's ``weights`` names.

    Args:
        given: a file, or a folder in transformers' format.

    Raises:
        InputError: there is neither, or the folder holds no weights in one file.
    """
    path = Path(given)
    if path.is_dir():
        return weights_in(path)
    if not path.is_file():
        raise InputError(
            f"weights: there is no file {given} (looked for from {Path.cwd()}). Give a "
            ".safetensors, .pth, .pt or .bin file, a folder in transformers' format, 'pretrained' "
            "or 'random'."
        )
    return path


def weights_in(folder: Path) -> Path:
    """Return the one file of weights in a folder of transformers.

    Raises:
        InputError: there is none.
    """
    found = [folder / name for name in IN_FOLDER if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"weights: the folder {folder} has no {' or '.join(IN_FOLDER)}. Name the file of "
            "weights itself."
        )
    return found[0]


def check_weights(encoder: EncoderSpec) -> None:
    """Check that the weights of an encoder are here, if they are local ones.

    Raises:
        InputError: they are not.
    """
    if encoder.weights not in ("pretrained", "random"):
        local_weights(encoder.weights)
