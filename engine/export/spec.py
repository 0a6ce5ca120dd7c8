"""Settings of an export."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from encoder_ablations.utils.config import Config, at_most

Precision = Literal["fp32", "fp16", "int8"]
Side = Annotated[int, Field(ge=32), at_most(16384, "the scores of all its pixels lie in memory")]


class ExportSpec(Config):
    """What a trained model is written as."""

    format: Literal["onnx", "torch", "hf"] = "onnx"
    """"onnx" for ONNX Runtime and others, "torch" for ``torch.export.load``, "hf" for transformers.
    """
    size: tuple[Side, Side] | None = None
    """(H, W) of all photos; None = any, or, if that is impossible, the size of the validation
    images.
    """
    precision: Precision = "fp32"
    """Of an ONNX file: "fp16" halves it, "int8" keeps the weights of matrix products in 8 bits."""

    @model_validator(mode="after")
    def _fits_the_format(self) -> "ExportSpec":
        if self.format != "onnx" and self.precision != "fp32":
            raise ValueError(
                f"precision {self.precision} is for format onnx, not {self.format}; leave it out"
            )
        if self.format == "hf" and self.size is not None:
            raise ValueError("format hf takes photos of any size; leave size out")
        return self
