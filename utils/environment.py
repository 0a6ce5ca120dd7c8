"""What a run ran on: recorded with every result."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from encoder_ablations import __version__
from encoder_ablations.utils.arithmetic import float32_products

PACKAGES = [
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "accelerate",
    "numpy",
    "numba",
    "pillow",
    "detectron2",
]
PACKAGES += ["opencv-python-headless"]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version(), "encoder-ablations": __version__}
    installed = {name: _version(name) for name in PACKAGES}
    return found | {name: version for name, version in installed.items() if version is not None}


@cache
def _version(name: str) -> str | None:
    """Return the version of a package; None if it is not installed.

    A process asks once, because reading a package's description takes milliseconds.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def git_revision() -> str | None:
    """Return the commit of this checkout, "+changes" if modified; None outside a checkout.

    A process asks once: what is changed after it has read its code does not count.
    """
    folder = Path(__file__).parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        modified = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return f"{revision}+changes" if modified else revision
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def processor() -> str:
    """Return the CPU's model name, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_environment(device: str) -> dict[str, object]:
    """Return versions, git revision, machine and settings that a result may depend on.

    Args:
        device: what the run computes on, e.g. "cpu" or "cuda:0".

    Returns:
        Settings such as ``deterministic_kernels`` and ``float32`` are those of this moment: within
        a run they are those of its training.
    """
    import torch

    gpu, memory = None, None
    if device.startswith("cuda"):
        gpu = torch.cuda.get_device_name(device)
        memory = torch.cuda.get_device_properties(device).total_memory
    return {
        "versions": versions(),
        "git_revision": git_revision(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": gpu,
        "gpu_memory_bytes": memory,
        "cuda": torch.version.cuda if gpu else None,
        "deterministic_kernels": torch.are_deterministic_algorithms_enabled(),
        "float32": float32_products(device),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
