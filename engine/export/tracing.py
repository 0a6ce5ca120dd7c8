"""From a model to a program of plain operators, and programs as PyTorch's files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from encoder_ablations.engine.export.errors import ExportError
from encoder_ablations.engine.export.photo_model import PhotoModel
from encoder_ablations.engine.export.runner import Outputs, Runner

EXAMPLE, OTHER = (70, 100), (33, 161)
"""Sizes of the photos by which a program for any size is traced and tried; no side fits a stride.
"""


def trace(model: PhotoModel) -> ExportedProgram:
    """Return the model as a program for any number of photos, of any size where it has none.

    Raises:
        ExportError: a part of it cannot be traced.
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
        raise ExportError(
            f"PyTorch cannot export this model ({body} with {head}) {_for_size(model)}.", error
        ) from error
    return program


def _for_size(model: PhotoModel) -> str:
    """Return the size of photos that a program was to be for, in words."""
    if model.size is None:
        return "for photos of any size"
    return f"for photos of {model.size[0]}×{model.size[1]} pixels"


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


def save_program(program: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write a program as a ``.pt2`` file; the metadata lie in it as files of text.

    Raises:
        ExportError: PyTorch has no way to write down one of its operations.
    """
    try:
        with _quiet():
            torch.export.save(program, path, extra_files=dict(metadata))
    # its errors have no common class
    except Exception as error:
        path.unlink(missing_ok=True)  # half a file
        raise ExportError(
            "PyTorch cannot write one of this model's operations into a .pt2 file.", error
        ) from error


def load_program(path: Path) -> Runner:
    """Return what computes photos by the program in a ``.pt2`` file."""
    module = torch.export.load(path).module()

    def run(photos: np.ndarray) -> Outputs:
        with torch.no_grad():
            found = module(torch.from_numpy(photos))
        return Outputs(*(each.numpy() for each in found))

    return run
