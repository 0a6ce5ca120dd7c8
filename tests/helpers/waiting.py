"""Which operations would make a program wait for its GPU."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal"}
"""Operations whose result, or the size of it, the processor must know."""


READING = {"cpu", "item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__"}
"""Methods by which Python reads values of a tensor."""


class Reads(TorchFunctionMode):
    """Counts the methods by which Python reads values of a tensor, by name."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in READING:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class Waits(TorchDispatchMode):
    """Counts operations that wait for a GPU, by name. Copies count where they change the device.

    On the CPU, where nothing is copied between devices, the other operations are the same ones.
    ``FakeTensorMode`` pretends a GPU, and shows copies.
    """

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in WAITING or name.startswith("_unique") or _by_mask(name, args):
            self.found[name] += 1
        result = func(*args, **kwargs)
        if name in ("_to_copy", "copy_") and isinstance(result, torch.Tensor):
            source = args[-1] if name == "copy_" else args[0]
            if source.device.type != result.device.type and not kwargs.get("non_blocking"):
                self.found[f"{source.device.type} to {result.device.type}"] += 1
        return result


def _by_mask(name, args):
    """Whether an index is a boolean mask, whose ones are counted first."""
    if name not in ("index", "index_put", "index_put_"):
        return False
    return any(each is not None and each.dtype == torch.bool for each in args[1])
