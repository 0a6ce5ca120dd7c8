"""How runs are computed, as opposed to what they compute."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Execution:
    """Nothing here changes a result on the CPU.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:N".
        workers: processes that load data; 0 = the main process.
    """

    device: str = "auto"
    workers: int = 0
