"""TorchScript archives read as data, e.g. OpenAI's CLIP downloads (``ViT-B-32.pt``).

``torch.jit.load`` compiles and may run the code in the archive, and ``torch.load(weights_only=True)`` refuses it. The
weights, though, are a plain pickle of nested dictionaries (``data.pkl``) beside one file of raw numbers per storage, so
they can be read with Python's restricted unpickling: only the few names below are resolved, none of which does
anything but hold or view data. Format: torch/csrc/jit/docs/serialization.md in the PyTorch repository.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive written by ``torch.jit.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist()
        )


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Named tensors of every module in the archive, on the CPU.

    Raises:
        pickle.UnpicklingError: the archive holds something else than modules, tensors and plain values.
        KeyError, RuntimeError, ValueError, zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(
            name for name in archive.namelist() if name.endswith("/constants.pkl")
        ).partition("/")[0]
        module = _Reader(archive, root).load()
    tensors: dict[str, Tensor] = {}
    _collect(module, "", tensors)
    return tensors


class _Module:
    """Stands for any TorchScript class; the unpickler fills in its attributes."""


def _tensor(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _plain(value: object, *_: object) -> object:
    """Stands for the functions that give a list its TorchScript type."""
    return value


class _Reader(pickle.Unpickler):
    """Python's unpickler with an allow-list: see "Restricting Globals" in the documentation of ``pickle``."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive = archive
        self.root = root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return _plain
        raise pickle.UnpicklingError(f"the name {module}.{name} is not data")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            self.storages[key] = (
                torch.frombuffer(content, dtype=dtype, count=count) if count else torch.empty(0)
            )
        return self.storages[key]


def _collect(value: object, name: str, tensors: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        tensors[name] = value
    elif isinstance(value, _Module):
        for key, inner in vars(value).items():
            _collect(inner, f"{name}.{key}" if name else key, tensors)
