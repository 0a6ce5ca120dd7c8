"""Loading pretrained or local weights into a model: all of them, or one clear error."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from timm.models import EfficientNet
from torch import Tensor, nn

from encoder_ablations.encoders.bodies.timm_vits import TimmViT
from encoder_ablations.encoders.weights.efficientnet import LAYOUT, is_efficientnet, timm_names
from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.fitting import Shape, fit_to_model
from encoder_ablations.encoders.weights.formats import convert
from encoder_ablations.encoders.weights.timm_files import classifier_names, named_as_model
from encoder_ablations.utils.torch_files import load_strictly


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        path: the file.
        layout: how the file names its parameters.
        tensors: number of tensors loaded; always all that the model has.
        dropped: names in the file that are no part of the model: text towers, heads, decoders, mask
            tokens.
        resampled: resized position embeddings and patch kernels: timm's name, shape in the file,
            shape in the model.
    """

    path: str
    layout: str
    tensors: int
    dropped: tuple[str, ...]
    resampled: tuple[tuple[str, Shape, Shape], ...]


def load_weights(model: nn.Module, path: Path | str, readout: bool = False) -> LoadReport:
    """Load a local file into a model without head; every parameter is loaded, or none.

    Args:
        model: a vision transformer of timm made without head and pooling (files in any layout of
            ``layouts.py``), another model of timm (files in a layout that timm itself
            reads), or a module whose parameters are called as in the file.
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``.
        readout: whether the model, a vision transformer, has what leads into the space of texts,
            and it is loaded, too.

    Raises:
        InputError: the file cannot be read without running code, or does not fit the model.
    """
    state = read_weights(path)
    where = f"weights: {path} does not fit the encoder {_name(model)}"
    if isinstance(model, TimmViT):
        return _load_vision_transformer(model, state, path, where, readout)
    layout = "as the model"
    if isinstance(model, EfficientNet) and is_efficientnet(state):
        names = timm_names(state, model.state_dict(), where)
        state = {names[name]: value for name, value in state.items()}
        layout = LAYOUT
    renamed = named_as_model(model, state)
    classifier = classifier_names(model, renamed)
    own = {name: value for name, value in renamed.items() if name not in classifier}
    load_strictly(model, own, where, _advice(model, own))
    unused = tuple(name for name in state if name not in renamed)
    resampled = _changed_shapes(state, own)
    return LoadReport(str(path), layout, len(own), (*classifier, *unused), resampled)


def _load_vision_transformer(
    model: TimmViT, state: Mapping[str, Tensor], path: Path | str, where: str, readout: bool
) -> LoadReport:
    converted = convert(state, f"weights: {path}", readout)
    tensors = {name: _as_float(value) for name, value in converted.tensors.items()}
    resized, dropped = fit_to_model(model, tensors, where)
    load_strictly(model, resized, where, _advice(model, resized))
    resampled = _changed_shapes(tensors, resized)
    return LoadReport(
        str(path), converted.layout, len(resized), (*converted.dropped, *dropped), resampled
    )


def _as_float(value: Tensor) -> Tensor:
    """Return floating-point numbers in float32, and others as they are."""
    return value.float() if value.is_floating_point() else value


def _changed_shapes(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> tuple[tuple[str, Shape, Shape], ...]:
    """Return name, old shape and new shape of the tensors whose shape has changed."""
    shapes = [
        (name, tuple(before[name].shape), tuple(after[name].shape))
        for name in after
        if name in before
    ]
    return tuple((name, old, new) for name, old, new in shapes if old != new)


def _advice(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return the likely cause of weights that do not fit.

    Another size of the same family has more or fewer blocks, or other widths.
    """
    own, given = model.state_dict().keys(), state.keys()
    missing, surplus = own - given, given - own
    only_blocks = all(name.startswith("blocks.") for name in missing | surplus)
    cause = "another model family"
    if only_blocks and not (missing and surplus):
        cause = "another size of the same family"
    return f"Likely cause: a file of {cause}. Give the file of this encoder."


def _name(model: nn.Module) -> str:
    """Return timm's name of the model, or else its class."""
    return getattr(model, "pretrained_cfg", {}).get("architecture") or type(model).__name__
