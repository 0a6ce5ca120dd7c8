"""What a server and its clients say to each other: texts beside arrays in a fixed order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from encoder_ablations import __version__
from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.engine.training.federated.exchange import read
from encoder_ablations.experiments.runs.custom_code import code_of
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError

Arrays = list[np.ndarray]
"""Tensors in the order of a layout."""
Parting = Literal["finished", "stopped", "refused"]
"""Why a server sends a client away: the training is at its end, or the server has stopped, or the
client does not belong there.
"""


class Message(BaseModel):
    """A text that is sent: JSON, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Introduction(Message):
    """The server's first question.

    Attributes:
        spec_sha256: of its run, see :func:`fingerprint_of`.
    """

    spec_sha256: str


class ClientFacts(Message):
    """What a client tells of its images.

    Attributes:
        number: of the client, from 0.
        images: how many it trains on.
        class_pixels: pixels of each class in their masks.
        ids_sha256: of their names.
        masks_sha256: of the class of every pixel, too.
    """

    number: int
    images: int
    class_pixels: list[int]
    ids_sha256: str
    masks_sha256: str


class TensorFacts(Message):
    """A tensor that is sent in every round.

    Attributes:
        name: in the model.
        shape: its sizes.
        dtype: as NumPy calls it, such as "float32".
    """

    name: str
    shape: list[int]
    dtype: str


class ModelFacts(Message):
    """What a client needs to make the server's model, and how it checks that it has.

    Attributes:
        class_pixels: of all clients together.
        layout: the tensors that are sent, in their order.
        fixed_sha256: of the tensors that are not sent, which training does not change.
    """

    class_pixels: list[int]
    layout: list[TensorFacts]
    fixed_sha256: str


class Order(Message):
    """What comes with the global model.

    Attributes:
        round: its number, from 0.
        start: the first step.
    """

    round: int
    start: int


class Report(Message):
    """What comes with a client's model.

    Attributes:
        round: its number, from 0.
        losses: of each step.
        terms: of each step, the losses that it is the sum of, by name.
        error: why the client has not finished the round; None = it has.
    """

    round: int
    losses: list[float] = []
    terms: list[dict[str, float]] = []
    error: str | None = None


class Reply(Message):
    """A client's reply to a question.

    Attributes:
        facts: of its images.
        refused: why it leaves; None = it stays.
    """

    facts: ClientFacts | None = None
    refused: str | None = None


def fingerprint_of(spec: RunSpec) -> str:
    """Return the SHA-256 of what server and clients must agree on, as 64 hexadecimal digits.

    That is the run without the folder of its dataset, the user's own code that it uses, and the
    version of this package.
    """
    content = spec.model_dump(mode="json")
    del content["dataset"]["root"]
    agreed: dict[str, Any] = {"run": content, "code": code_of(spec), "version": __version__}
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()


def model_facts(
    segmenter: Segmenter, shared: Sequence[str], class_pixels: Sequence[int]
) -> ModelFacts:
    """Return what describes a model with its initial weights.

    Args:
        segmenter: the model.
        shared: names of the tensors that are sent, in their order.
        class_pixels: of each class in the images of all clients.
    """
    arrays = to_arrays(read(segmenter, shared))
    layout = [
        TensorFacts(name=name, shape=list(array.shape), dtype=str(array.dtype))
        for name, array in zip(shared, arrays, strict=True)
    ]
    weights = segmenter.state_dict()
    digest = _digest({name: weights[name] for name in weights.keys() - {*shared}})
    return ModelFacts(class_pixels=list(class_pixels), layout=layout, fixed_sha256=digest)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names, as 64 hexadecimal digits."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {list(value.shape)} {value.dtype}\n".encode())
        # as bytes, because NumPy lacks some types of PyTorch
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def difference(own: ModelFacts, others: ModelFacts) -> str | None:
    """Return in words how a client's model differs from the server's; None if it does not.

    Args:
        own: of the client.
        others: of the server.
    """
    here, there = ({each.name: each for each in facts.layout} for facts in (own, others))
    for name in [*there, *here]:
        if here.get(name) != there.get(name):
            return f"{name} is {_words(here.get(name))} here and {_words(there.get(name))} there"
    if own.layout != others.layout:
        return "the tensors have another order"
    if own.fixed_sha256 != others.fixed_sha256:
        return "the weights that are not trained are others; compare the files of encoder.weights"
    return None


def _words(tensor: TensorFacts | None) -> str:
    if tensor is None:
        return "missing"
    return f"{tensor.dtype} {tensor.shape}"


def to_arrays(state: State) -> Arrays:
    """Return tensors as arrays, in their order."""
    return [value.numpy() for value in state.values()]


def to_state(arrays: Sequence[np.ndarray], layout: Sequence[TensorFacts]) -> State:
    """Return arrays as tensors by name.

    Raises:
        InputError: they do not have the layout.
    """
    if len(arrays) != len(layout):
        raise InputError(f"{len(arrays)} tensors were sent, and {len(layout)} were expected.")
    found = {}
    for array, tensor in zip(arrays, layout, strict=True):
        sent = TensorFacts(name=tensor.name, shape=list(array.shape), dtype=str(array.dtype))
        if sent != tensor:
            raise InputError(
                f"{tensor.name} was sent as {_words(sent)}, and {_words(tensor)} was expected."
            )
        # arrays from a message cannot be written to
        found[tensor.name] = torch.from_numpy(np.array(array))
    return found
