"""Weight files of the Hugging Face hub, for models that timm knows."""

from collections.abc import Sequence
from pathlib import Path

import timm
from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
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

from encoder_ablations.utils.errors import InputError

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
HUB_TIMEOUT = 10.0
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


def download_weights(name: str) -> Path:
    """Return the weight file of a timm model, downloaded if the Hugging Face cache lacks it.

    A file in the cache is used without asking the hub whether it has changed.

    Args:
        name: timm's model name with tag, e.g. "vit_base_patch16_224.mae".

    Raises:
        InputError: there is no such file, or it cannot be downloaded; the message says how to go
            on.
    """
    cached = cached_weights(name)
    if cached is not None:
        return cached
    repository, files, revision = _place(name)
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


def cached_weights(name: str) -> Path | None:
    """Return the weight file of a timm model in the Hugging Face cache; None if it lacks it.

    Args:
        name: timm's model name with tag.

    Raises:
        InputError: timm knows no weights of this name on the hub.
    """
    repository, files, revision = _place(name)
    for file in files:
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _place(name: str) -> tuple[str, tuple[str, ...], str | None]:
    """Return repository, possible files and revision of a timm model's weights."""
    source = _source(name)
    repository, _, tag = str(source.hf_hub_id).partition("@")
    files: tuple[str, ...] = HUB_FILES
    if source.hf_hub_filename:
        files = (source.hf_hub_filename,)
    return repository, files, tag or None


def download_repository(repository: str, files: Sequence[str], weights: Sequence[str]) -> Path:
    """Return the folder of a repository, downloaded if the Hugging Face cache lacks it.

    Args:
        repository: ``owner/name``.
        files: patterns of the files that are needed beside the weights.
        weights: patterns of weights; those of the first that is there are downloaded.

    Raises:
        InputError: it cannot be downloaded, or has no weights; the message says how to go on.
    """
    advice = "Give a folder in transformers' format, with model and tokeniser."
    try:
        found = Path(snapshot_download(repository, local_files_only=True))
        if _holds(found, weights):
            return found
    except (OSError, ValueError):  # nothing of it is in the cache
        pass
    try:
        # finds out quickly whether the hub can be reached, see _download
        get_hf_file_metadata(hf_hub_url(repository, "config.json"), timeout=HUB_TIMEOUT)
        for pattern in weights:
            found = Path(snapshot_download(repository, allow_patterns=[*files, pattern]))
            if _holds(found, [pattern]):
                return found
    except (HTTPError, OSError, RuntimeError) as error:
        raise InputError(
            f"cannot download {repository} from the Hugging Face hub: {_reason(error)}. {advice}"
        ) from error
    raise InputError(f"the hub's repository {repository} has no weights. {advice}")


def _holds(folder: Path, patterns: Sequence[str]) -> bool:
    """Return whether a folder has a file of any pattern."""
    return any(any(folder.glob(pattern)) for pattern in patterns)


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
