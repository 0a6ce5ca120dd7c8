"""What computes deformable attention on a CUDA device: the Triton kernels, or plain PyTorch.

At the first use on a device the kernels are compared with PyTorch there. They are used in the
precisions in which they agree. Agreement is remembered in the user's cache folder, for this device,
driver of kernels and code. A disagreement is not: what was mended in between is seen at the next
start.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch

from encoder_ablations import __version__
from encoder_ablations.segmenters.ops import kernel_check
from encoder_ablations.utils.cache_folder import cache_folder
from encoder_ablations.utils.files import StorageError, as_json, write_text

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BF16_CAPABILITY = (8, 0)
"""First compute capability that has bfloat16."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What computes on one device.

    Attributes:
        device: its name.
        problems: dtype -> why the Triton kernels are not used for it; the others are theirs.
    """

    device: str
    problems: Mapping[torch.dtype, str]

    def path(self, *dtypes: torch.dtype) -> str:
        """Return "triton" or "pytorch" for tensors of these dtypes."""
        if any(dtype in self.problems for dtype in dtypes):
            return "pytorch"
        return "triton"

    def report(self) -> dict[str, str]:
        """Return for each dtype what computes, and why where it is plain PyTorch."""
        found = {}
        for dtype in DTYPES:
            name = str(dtype).removeprefix("torch.")
            found[name] = "triton: agrees with PyTorch on this device"
            if dtype in self.problems:
                found[name] = f"pytorch: {self.problems[dtype]}"
        return found


_choices: dict[int, Choice] = {}
"""What was found in this process, by the number of the device."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def path_on_cuda(device: torch.device, *dtypes: torch.dtype) -> str:
    """Return what computes on a CUDA device for tensors of these dtypes: "triton" or "pytorch".

    The first call on a device compares the kernels with PyTorch there, and logs one line for each
    precision in which they are not used.
    """
    # devices and tensors may be pretended, to see shapes and types alone
    if not torch.cuda.is_available() or type(torch.empty(0)) is not torch.Tensor:
        return "pytorch"
    number = device.index
    if number is None:
        number = torch.cuda.current_device()
    if number not in _choices:
        _choices[number] = _choose(torch.device("cuda", number))
    return _choices[number].path(*dtypes)


def report_of(device: torch.device) -> dict[str, object]:
    """Return what a record says of this choice; empty where none was made on the device."""
    number = device.index or 0
    if device.type != "cuda" or number not in _choices:
        return {}
    return {"deformable_attention": _choices[number].report()}


def _choose(device: torch.device) -> Choice:
    """Return what computes on a CUDA device that exists."""
    name = torch.cuda.get_device_name(device)
    try:
        # it takes a second to import, and is not installed everywhere
        from encoder_ablations.segmenters.ops import deformable_attention_triton
    except ImportError as error:
        problem = f"triton cannot be imported ({error})"
        return _reported(Choice(name, dict.fromkeys(DTYPES, problem)))
    capability = torch.cuda.get_device_capability(device)
    return choose(deformable_attention_triton, device, name, capability)


def choose(
    kernels: ModuleType,
    device: torch.device,
    name: str,
    capability: tuple[int, int],
    find_problem: Callable[..., str | None] = kernel_check.find_problem,
) -> Choice:
    """Return in which precisions kernels are used on a device, after comparing them there.

    Args:
        kernels: the module with ``forward`` and ``backward``.
        device: where they compute.
        name: of the device.
        capability: its compute capability.
        find_problem: compares them in one precision.
    """
    place = _place(kernels, name, capability)
    agreed, problems = _read(place), {}
    for dtype in DTYPES:
        if str(dtype) in agreed:
            continue
        problem = None
        if dtype == torch.bfloat16 and capability < BF16_CAPABILITY:
            problem = "the device has no bfloat16"
        problem = problem or find_problem(kernels, device, dtype)
        if problem is None:
            agreed.add(str(dtype))
        else:
            problems[dtype] = problem
    # it only saves seconds, so a folder that cannot be written to does no harm
    with suppress(StorageError):
        write_text(place, as_json(sorted(agreed)))
    return _reported(Choice(name, problems))


def _reported(choice: Choice) -> Choice:
    """Return a choice, after one line for each reason not to use the kernels."""
    for reason in dict.fromkeys(choice.problems.values()):
        dtypes = [dtype for dtype, why in choice.problems.items() if why == reason]
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        logger.warning(
            "Deformable attention in %s is computed by plain PyTorch on %s, which is slower: %s",
            *(names, choice.device, reason),
        )
    return choice


def _read(place: Path) -> set[str]:
    """Return the dtypes in which kernels agreed before; none where nothing is remembered."""
    try:
        return set(json.loads(place.read_text()))
    except (OSError, ValueError, TypeError):
        return set()


def _place(kernels: ModuleType, name: str, capability: tuple[int, int]) -> Path:
    """Return the file that remembers kernels on a device, with this software."""
    facts = [name, capability, torch.__version__, _version_of("triton"), __version__]
    for code in (kernels, kernel_check):
        facts.append(hashlib.sha256(Path(str(code.__file__)).read_bytes()).hexdigest())
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return cache_folder("kernels") / f"{digest[:32]}.json"


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
