"""What clients and server send to each other: the part of a model that training changes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from encoder_ablations.engine.training.batch_norm import learning_norms
from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Exchange:
    """The names of the tensors that training changes.

    A frozen body, and whatever else does not learn, is in none of them.

    Attributes:
        shared: tensors that are sent in every round.
        local: tensors of BatchNorms that stay with each client.
        learnt: those of ``shared`` that are parameters.
    """

    shared: tuple[str, ...]
    local: tuple[str, ...]
    learnt: frozenset[str]

    @classmethod
    def of(cls, segmenter: Segmenter, local_batch_norm: bool) -> "Exchange":
        """Return what is exchanged of a model.

        Args:
            segmenter: the model.
            local_batch_norm: whether BatchNorms that learn stay with each client.

        Raises:
            InputError: they are to stay, and there are none.
        """
        parameters = [
            name for name, parameter in segmenter.named_parameters() if parameter.requires_grad
        ]
        norms = set(_of_norms(segmenter))
        buffers = [name for name, _ in segmenter.named_buffers() if name in norms]
        changed = [*parameters, *buffers]
        local: list[str] = []
        if local_batch_norm:
            local = [name for name in changed if name in norms]
            if not local:
                raise InputError(
                    "federation.local_batch_norm: no BatchNorm of this model learns. Leave it out."
                )
        shared = [name for name in changed if name not in local]
        return cls(tuple(shared), tuple(local), frozenset(parameters).difference(local))


def check_private_exchange(segmenter: Segmenter, exchange: Exchange) -> None:
    """Check that clients send nothing but parameters, which can be clipped and noised.

    Args:
        segmenter: the model.
        exchange: what is sent of it.

    Raises:
        InputError: statistics of BatchNorms would leave the clients, or nothing is sent.
    """
    statistics = [name for name in exchange.shared if name not in exchange.learnt]
    if statistics:
        raise InputError(
            f"federation.privacy: the BatchNorm statistics {statistics[0]} ({len(statistics)} "
            "tensors in all) would leave the clients without noise. For a head set "
            "segmenter.norm: group (classifier: normalize: false), for an encoder freeze: body; or "
            "keep BatchNorms with the clients (local_batch_norm: true)."
        )
    if segmenter.encoder.batch_norm == "estimate":
        raise InputError(
            "federation.privacy: encoder.batch_norm estimate (the default for random weights) "
            "takes statistics of all clients' images without noise. Set encoder.batch_norm: keep."
        )
    if not exchange.shared:
        raise InputError("federation.privacy: clients send no parameter of this model.")


def _of_norms(segmenter: Segmenter) -> Iterator[str]:
    """Yield the names of parameters and buffers of the BatchNorms that learn."""
    learning = {id(module) for module in learning_norms(segmenter)}
    for prefix, module in segmenter.named_modules():
        if id(module) not in learning:
            continue
        for name in module.state_dict():
            yield f"{prefix}.{name}".removeprefix(".")


def read(segmenter: Segmenter, names: Iterable[str]) -> State:
    """Return copies of a model's tensors, on the CPU."""
    tensors = _tensors(segmenter)
    return {name: tensors[name].detach().cpu().clone() for name in names}


@torch.no_grad()
def write(segmenter: Segmenter, state: State) -> None:
    """Copy tensors into a model, in place."""
    tensors = _tensors(segmenter)
    for name, value in state.items():
        tensors[name].copy_(value)


def _tensors(segmenter: Segmenter) -> dict[str, Tensor]:
    return dict(segmenter.named_parameters()) | dict(segmenter.named_buffers())


def size_in_bytes(state: State) -> int:
    """Return the bytes of all tensors."""
    return sum(value.numel() * value.element_size() for value in state.values())
