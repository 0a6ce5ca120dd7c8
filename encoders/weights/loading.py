"""Loading pretrained or local weights into a model: all of them, or one clear error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (  # type: ignore[attr-defined] # HTTPError is httpx's
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from timm.models import PretrainedCfg
from torch import Tensor, nn

from encoder_ablations.encoders.bodies.timm_vits import TimmViT
from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.fitting import Shape, fit_to_model
from encoder_ablations.encoders.weights.formats import convert
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.torch_files import load_strictly

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT = 10.0
CLASSIFIER = "head."
ALTERNATIVES = (
    "Give a local file (weights: FILE.safetensors or FILE.pth), or start from random weights "
    "(weights: random)."
)
REASONS = {
    OfflineModeIsEnabled: "the hub's offline mode is on (HF_HUB_OFFLINE)",
    GatedRepoError: "its licence must be accepted on the model's page, and 'hf auth login' be run",
    RepositoryNotFoundError: "there is no such repository, or it is private",
}
"""Why a download failed; a gated repository is also one that is not found, so it comes first."""


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


def load_weights(model: nn.Module, path: Path | str) -> LoadReport:
    """Load a local file into a model without head; every parameter is loaded, or none.

    Args:
        model: a vision transformer of timm made without head and pooling (files in any layout of
            ``layouts.py``), or another module whose parameters are called as in the file.
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``.

    Raises:
        InputError: the file cannot be read without running code, or does not fit the model.
    """
    state = read_weights(path)
    where = f"weights: {path} does not fit the encoder {_name(model)}"
    if isinstance(model, TimmViT):
        return _load_vision_transformer(model, state, path, where)
    dropped = tuple(
        name for name in state if name.startswith(CLASSIFIER) and name not in model.state_dict()
    )
    state = {name: value for name, value in state.items() if name not in dropped}
    load_strictly(model, state, where, _advice(model, state))
    return LoadReport(str(path), "as the model", len(state), dropped, ())


def _load_vision_transformer(
    model: TimmViT, state: Mapping[str, Tensor], path: Path | str, where: str
) -> LoadReport:
    converted = convert(state, f"weights: {path}")
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


def download_weights(name: str) -> Path:
    """Return the weight file of a timm model, downloaded if the Hugging Face cache lacks it.

    A file in the cache is used without asking the hub whether it has changed.

    Args:
        name: timm's model name with tag, e.g. "vit_base_patch16_224.mae".

    Raises:
        InputError: there is no such file, or it cannot be downloaded; the message says how to go
            on.
    """
    source = _source(name)
    repository, _, tag = str(source.hf_hub_id).partition("@")
    revision = tag or None
    files: tuple[str, ...] = HUB_FILES
    if source.hf_hub_filename:
        files = (source.hf_hub_filename,)
    for file in files:
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    try:
        downloaded = _download(repository, files, revision)
    except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: accelerated downloads
        raise InputError(
            f"cannot download the weights of {name} from the Hugging Face hub ({repository}): "
            f"{_reason(error)}. {ALTERNATIVES}"
        ) from error
    if downloaded is None:
        raise InputError(
            f"the hub's repository {repository} of {name} has no {' or '.join(files)}. "
            f"{ALTERNATIVES}"
        )
    return downloaded


def _source(name: str) -> PretrainedCfg:
    """Return timm's description of where weights lie.

    Raises:
        InputError: they are unknown, or do not lie on the hub.
    """
    try:
        source = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")) or "none"
        raise InputError(f"timm has no weights called {name}. Allowed: {tags}.") from error
    if source is None or not source.hf_hub_id:
        raise InputError(
            f"the timm model {name} has no weights on the Hugging Face hub. {ALTERNATIVES}"
        )
    return source


def _download(repository: str, files: Sequence[str], revision: str | None) -> Path | None:
    """Return the first of the files that the repository has, downloaded; None without one.

    One request finds out whether the hub can be reached, because its own client repeats failing
    ones for about 25 seconds a file.
    """
    for file in files:
        try:
            url = hf_hub_url(repository, file, revision=revision)
            get_hf_file_metadata(url, timeout=HUB_TIMEOUT)
            return Path(hf_hub_download(repository, file, revision=revision))
        except RemoteEntryNotFoundError:
            continue
    return None


def _reason(error: Exception) -> str:
    """Return why a download has failed, in one line."""
    for kind, reason in REASONS.items():
        if isinstance(error, kind):
            return reason
    first_line = str(error).partition("\n")[0] or type(error).__name__
    text = first_line[:160].rstrip(".")
    answered = isinstance(error, HfHubHTTPError) or not isinstance(error, HTTPError)
    return text if answered else f"no connection ({text})"
