"""What a model costs, as it is measured and as records keep it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Latency(BaseModel):
    """Milliseconds of one forward pass of ``batch_size`` images, from input to stride-4 scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int
    median: float
    p10: float
    p90: float
    median_by_part: dict[str, float]


class RegionsCost(BaseModel):
    """What finding regions takes, for heads that read some; latencies include it.

    It is measured in test images that are resized to ``input_size``, without regions that were kept
    from an earlier start. Regions from a folder are only looked up.

    Attributes:
        milliseconds: of one image, the median.
        images: in how many images it was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    milliseconds: float
    images: int


class ModelCost(BaseModel):
    """Parameters, FLOPs and latencies of a segmenter.

    Attributes:
        input_size: (H, W) that FLOPs and latencies are of.
        tokens: patch tokens per image; None for convolutional encoders.
        parameters: "total" and "trainable".
        flops: multiply-adds, each counted as one, as fvcore and the literature do.
        latency_ms: by batch size, in ``precision`` and with the fastest kernels.
        regions: what finding regions takes; None where the head reads none.
        precision: of the latencies, whatever training was in; "fp32" is float32 without TF32.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: tuple[int, int]
    tokens: int | None
    parameters: dict[str, int]
    parameters_by_part: dict[str, int]
    flops: int
    flops_by_part: dict[str, int]
    latency_ms: list[Latency] = []
    regions: RegionsCost | None = Field(default=None, exclude_if=lambda each: each is None)
    precision: Literal["fp32"] = "fp32"
