"""Upload of an exported model to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from encoder_ablations.utils.errors import InputError

HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""Base of all errors of the HTTP library that huggingface_hub uses."""


def push(folder: Path, name: str) -> str:
    """Upload a folder to a repository, which is made if it is missing; return its address.

    Args:
        folder: all of its files are uploaded.
        name: of the repository, ``owner/name``.

    Raises:
        InputError: there is no such owner, no token, or no network. The folder stays.
    """
    hub = HfApi()
    try:
        address = hub.create_repo(repo_id=name, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder)
    except (OSError, ValueError, HTTP_ERROR) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{folder} was written, but cannot be uploaded to {name}: {reason}. Log in with "
            "'hf auth login', then upload it with 'hf upload'."
        ) from error
    return str(address)
