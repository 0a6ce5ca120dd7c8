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


def substream(rng: np.random.Generator, name: str) -> np.random.Generator:
    """Return a named stream that belongs to a generator.

    It depends on how ``rng`` was seeded and on ``name``, not on what was drawn from ``rng`` before,
    and leaves ``rng`` as it is.
    """
    seeds = rng.bit_generator.seed_seq
    assert isinstance(seeds, np.random.SeedSequence)
    key = (*seeds.spawn_key, derive(0, name) % 2**32)
    return np.random.default_rng(np.random.SeedSequence(seeds.entropy, spawn_key=key))


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
