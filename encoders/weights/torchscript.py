"""TorchScript archives read as data, e.g. OpenAI's CLIP downloads (``ViT-B-32.pt``).

``torch.jit.load`` compiles and may run the code in the archive, and
``torch.load(weights_only=True)`` refuses it. The weights, though, are a plain pickle of nested
dictionaries (``data.pkl``) beside one file of raw numbers per storage. So they can be read with
Python's restricted unpickling: only the few names below are resolved, and each of them only holds
or views data. Format: torch/csrc/jit/docs/serialization.md in the PyTorch repository.
"""

import io
import pickle
import re
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
    """Return whether the file is an archive written by ``torch.jit.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _root(archive) is not None


def _root(archive: zipfile.ZipFile) -> str | None:
    """Return the folder within an archive that holds the model; None in archives of other kinds."""
    found = (re.fullmatch("([^/]*)/constants.pkl", name) for name in archive.namelist())
    return next((match[1] for match in found if match), None)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of every module in an archive of TorchScript, on the CPU.

    Raises:
        pickle.UnpicklingError: the archive holds something else than modules, tensors and plain
            values.
        KeyError, RuntimeError, ValueError, zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        module = _Reader(archive, str(_root(archive))).load()
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


ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): OrderedDict,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}
"""What else may stand in an archive: module and name, and what they stand for."""


class _Reader(pickle.Unpickler):
    """Python's unpickler with a list of allowed names.

    See "Restricting Globals" in the documentation of ``pickle``.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive = archive
        self.root = root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name in the archive."""
        if module.partition(".")[0] == "__torch__":
            return _Module
        if module == "torch.jit._pickle":
            return _plain
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the name {module}.{name} is not data")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the storage of an identifier, read at most once: several tensors may share it."""
        _, dtype, key, _, count = pid
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.root}/data/{key}"))
            self.storages[key] = torch.empty(0)
            if count:  # frombuffer refuses an empty buffer
                self.storages[key] = torch.frombuffer(content, dtype=dtype, count=count)
        return self.storages[key]


def _collect(value: object, name: str, tensors: dict[str, Tensor]) -> None:
    """Add the tensors of a module and of the modules within it, under their dotted names."""
    if isinstance(value, Tensor):
        tensors[name] = value
    elif isinstance(value, _Module):
        for key, inner in vars(value).items():
            _collect(inner, f"{name}.{key}" if name else key, tensors)
