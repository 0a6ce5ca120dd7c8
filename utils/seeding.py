"""Independent, named streams of random numbers.

Every random decision draws from a stream named by its purpose, never from a global state that
other code may have advanced. So the head of a segmenter starts from the same weights whatever the
encoder drew before it, and an interrupted run continues with the numbers that it would have had.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derive(seed: int, *labels: str | int) -> int:
    """Return a seed in 0..2^63-1 that depends on ``seed`` and on every label, in order."""
    text = "/".join([str(seed), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *labels: str | int) -> np.random.Generator:
    """Return NumPy's generator of a named stream."""
    return np.random.default_rng(derive(seed, *labels))


@contextmanager
def torch_stream(seed: int, *labels: str | int) -> Iterator[None]:
    """Within the block PyTorch's CPU generator is the named stream; afterwards it is as it was."""
    import torch  # reports draw random numbers, too, and start three seconds sooner without it

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *labels))
        yield


def seed_global(seed: int, *labels: str | int) -> None:
    """Seed the global generators: Python's, NumPy's, and PyTorch's on every device."""
    import torch

    value = derive(seed, *labels)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
