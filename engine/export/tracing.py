"""From a model to a program of plain operators, and programs as PyTorch's files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from encoder_ablations.engine.export.photo_model import PhotoModel
from encoder_ablations.engine.export.runner import Outputs, Runner
from encoder_ablations.utils.errors import InputError

EXAMPLE, OTHER = (70, 100), (33, 161)
"""Sizes of the photos by which a program for any size is traced and tried; no side fits a stride.
"""


def trace(model: PhotoModel) -> ExportedProgram:
    """Return the model as a program for any number of photos, of any size where it has none.

    Raises:
        InputError: a part of it cannot be traced.
    """
    sides = {0: Dim.DYNAMIC}
    if model.size is None:
        sides |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    model.eval()
    try:
        with torch.no_grad(), _quiet():
            photos = _black(2, model.size or EXAMPLE)
            program = torch.export.export(model, (photos,), dynamic_shapes=(sides,))
            if model.size is None:
                # a trace may keep a size without an error: its guards then refuse all others
                program.module()(_black(1, OTHER))
    # the heads and bodies of users may fail in any way
    except Exception as error:
        head = type(model.segmenter.head).__name__
        body = type(model.segmenter.encoder.body).__name__
        raise InputError(
            f"torch.export cannot trace the model ({body} with {head}): {first_line(error)}"
        ) from error
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from writing pages of symbols to the terminal when a trace fails."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _black(images: int, size: tuple[int, int]) -> Tensor:
    return torch.zeros(images, 3, *size, dtype=torch.uint8)


def first_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def save_program(program: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write a program as a ``.pt2`` file; the metadata lie in it as files of text.

    Raises:
        InputError: PyTorch has no way to write down one of its operations.
    """
    try:
        torch.export.save(program, path, extra_files=dict(metadata))
    # its errors have no common class
    except Exception as error:
        path.unlink(missing_ok=True)  # half a file
        raise InputError(
            f"the traced model cannot be written as a program of PyTorch: {first_line(error)}"
        ) from error


def load_program(path: Path) -> Runner:
    """Return what computes photos by the program in a ``.pt2`` file."""
    module = torch.export.load(path).module()

    def run(photos: np.ndarray) -> Outputs:
        with torch.no_grad():
            found = module(torch.from_numpy(photos))
        return Outputs(*(each.numpy() for each in found))

    return run
