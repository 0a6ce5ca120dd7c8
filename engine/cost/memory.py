"""Peak memory of training, without what validation and loading models take."""

from pathlib import Path

import psutil
import torch

CLEAR = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


class PeakMemory:
    """The most memory that this process has held since the last :meth:`restart`.

    On a GPU it is the memory that PyTorch has allocated there. On the CPU it is the process's
    resident memory, with libraries and decoded images. Linux keeps its peak and lets it be reset.
    Where it cannot be reset (some containers), the memory at the moment of :meth:`read` counts.

    Attributes:
        kind: which of these memories it is, in words.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._resets = device.type != "cuda" and _reset_resident_peak()
        if device.type == "cuda":
            self.kind = "allocated on the GPU by PyTorch"
        elif self._resets:
            self.kind = "resident in the process"
        else:
            self.kind = "resident in the process at the end of a step"

    def words(self, processes: int) -> str:
        """Return what was measured, for a record; of several processes the largest counts."""
        words = f"{self.kind}, during training steps"
        if processes == 1:
            return words
        return f"{words}; the largest of {processes} processes"

    def restart(self) -> None:
        """Forget the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self._resets:
            _reset_resident_peak()

    def read(self) -> int:
        """Return bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self._resets:
            return _resident_peak()
        resident: int = psutil.Process().memory_info().rss
        return resident


def _reset_resident_peak() -> bool:
    """Reset the peak (proc(5), clear_refs); return whether Linux did."""
    try:
        CLEAR.write_text("5")
        return _resident_peak() > 0
    except (OSError, StopIteration):
        return False


def _resident_peak() -> int:
    """Return the peak of the resident memory (VmHWM) in bytes."""
    lines = STATUS.read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
