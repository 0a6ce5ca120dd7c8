"""Models as ONNX files, computed by ONNX Runtime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from encoder_ablations.engine.export.errors import ExportError
from encoder_ablations.engine.export.runner import Outputs, Runner
from encoder_ablations.engine.export.spec import Precision

OPSET = 20
INPUT = "photos"
OUTPUTS = ("labels", "probabilities", "image_probabilities")
"""Names of the outputs; only models with an image head have the last one."""


def save_onnx(
    program: ExportedProgram, path: Path, metadata: dict[str, str], precision: Precision
) -> None:
    """Write a program as an ONNX file.

    Args:
        program: of a :class:`.photo_model.PhotoModel`.
        path: of the file. What exceeds 2 GB lies beside it.
        metadata: texts that are kept in the file.
        precision: "fp32"; "fp16": all numbers between the photos and the outputs; "int8": weights
            of matrix products, whose other factor is rounded when it is known.

    Raises:
        ExportError: an operator has no counterpart in ONNX.
    """
    try:
        with _without_advice():
            exported: Any = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS[: len(program.graph_signature.user_outputs)]),
                verbose=False,
            )
    # operators of users may fail in any way
    except Exception as error:
        raise ExportError(
            "one of this model's operations cannot be written as ONNX.", error
        ) from error
    exported.model.metadata_props.update(metadata)
    exported.save(path)
    if precision != "fp32":
        convert(path, precision)


def convert(path: Path, precision: Precision) -> None:
    """Replace a file by one of a smaller precision.

    Raises:
        ExportError: ONNX Runtime's tool fails for this model.
    """
    try:
        if precision == "fp16":
            _to_float16(path)
        else:
            _to_int8(path)
    # the tools raise what they like
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot convert this model to {precision}. "
            "Export it without --precision.",
            error,
        ) from error


def _to_float16(path: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    onnx.save(model, path)


def _to_int8(path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    # convolutions stay: ONNX Runtime computes them more slowly, and less exactly, in 8 bits
    with _without_advice():
        quantize_dynamic(path, path, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Within the block libraries log errors alone, not what they advise their developers to do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def load_onnx(path: Path) -> Runner:
    """Return what computes photos by an ONNX file, on the CPU with as many threads as PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(photos: np.ndarray) -> Outputs:
        # all outputs of the file, in its order
        return Outputs(*session.run(None, {INPUT: photos}))

    return run
