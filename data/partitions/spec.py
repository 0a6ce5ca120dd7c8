"""The ways in which training images are divided among clients."""

from typing import Annotated, Literal

from pydantic import Field

from encoder_ablations.utils.config import Config


class DirichletSpec(Config):
    """Clients whose shares of each class are drawn from a Dirichlet distribution."""

    dirichlet: Annotated[float, Field(gt=0)]
    """Concentration α: 0.1 gives very unequal clients, 100 nearly equal ones."""


class LabelSkewSpec(Config):
    """Clients that have images of a few classes each."""

    label_skew: Annotated[int, Field(ge=1)]
    """Classes per client."""


PartitionSpec = Literal["iid", "scenes"] | DirichletSpec | LabelSkewSpec


def partition_title(partition: PartitionSpec) -> str:
    """Return a partition in words, such as "scenes" or "dirichlet 0.5"."""
    if isinstance(partition, DirichletSpec):
        return f"dirichlet {partition.dirichlet:g}"
    if isinstance(partition, LabelSkewSpec):
        return f"label skew {partition.label_skew}"
    return partition
