"""Where the time of one training step goes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, supported_activities

from encoder_ablations.engine.training.callbacks import (
    Callback,
    EvaluationReport,
    StepReport,
    Training,
)
from encoder_ablations.utils.files import write_text

STEP = 4
"""The step that is looked at; those before it allocate memory and compile."""
ROWS = 15
"""Single operations that the table names."""
KINDS = {
    "loading images": ("dataloader",),
    "deformable attention": ("deformable_attention",),
    "attention": ("scaled_dot_product", "flash", "efficient_attention", "softmax"),
    "convolutions": ("convolution", "mkldnn_conv", "cudnn"),
    "matrix products": ("mm", "gemm", "matmul", "linear"),
    "samples at points": ("grid_sampler", "uniform", "topk", "gather", "index", "scatter"),
    "normalisation": ("norm",),
    "resizing": ("upsample", "interpolate"),
    "optimiser": ("optimizer", "_foreach", "_fused", "adam", "lerp", "addcdiv", "addcmul"),
    "copies": (
        "copy",
        "memcpy",
        "_to_copy",
        "clone",
        "contiguous",
        "cat",
        "fill",
        "zero",
        "memset",
    ),
    "waiting for the GPU": ("synchronize", "_local_scalar_dense", "item"),
}
"""What operations do -> parts of their names; the first kind that fits counts."""


class StepProfile(Callback):
    """Writes a table and a trace of one step, once for each path.

    Args:
        path: of the table; the trace lies beside it, for chrome://tracing or ui.perfetto.dev.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = 0
        self.active: profile | None = None
        self.wanted = False

    def on_start(self, training: Training) -> None:
        """Look at a step only where nobody has yet."""
        self.wanted = training.writes and not self.path.exists()

    def on_step(self, report: StepReport) -> None:
        """Begin after the step before; end after the step itself."""
        self.steps += 1
        if self.active is not None:
            self._write(self.active)
        elif self.wanted and self.steps >= STEP - 1:
            self._begin()

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Begin again: an evaluation is no part of a step."""
        if self.active is not None:
            self.active.stop()
            self._begin()

    def on_end(self, step: int, finished: bool) -> None:
        """End without a table where training ends before the step does."""
        if self.active is not None:
            self.active.stop()
            self.active = None

    def _begin(self) -> None:
        known = {ProfilerActivity.CPU, ProfilerActivity.CUDA}
        self.active = profile(activities=sorted(known & supported_activities(), key=str))
        self.active.start()

    def _write(self, active: profile) -> None:
        active.stop()
        self.active, self.wanted = None, False
        times: dict[str, tuple[float, int]] = {}
        for event in active.key_averages():
            own = max(event.self_device_time_total, event.self_cpu_time_total) / 1000
            times[event.key] = (own, event.count)
        text = table(times)
        write_text(self.path, text)
        active.export_chrome_trace(str(self.path.with_suffix(".trace.json")))
        print(f"{text}\nwritten to {self.path}, with a trace beside it")


def table(times: Mapping[str, tuple[float, int]]) -> str:
    """Return in words where the time went.

    Args:
        times: operation -> its own milliseconds, and how often it was called.
    """
    total = sum(own for own, _ in times.values())
    lines = [f"One training step, {total:.1f} ms in operations (a profiler makes them slower)", ""]
    kinds: dict[str, float] = {}
    for name, (own, _) in times.items():
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + own
    lines += _rows((own, kind) for kind, own in kinds.items())
    lines += ["", f"The {ROWS} longest operations"]
    longest = [(own, f"{name} ({count} calls)") for name, (own, count) in times.items()]
    return "\n".join([*lines, *_rows(longest)[:ROWS]]) + "\n"


def kind_of(operation: str) -> str:
    """Return what an operation does, in words."""
    name = operation.lower()
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            return kind
    return "everything else"


def _rows(given: Iterable[tuple[float, str]]) -> list[str]:
    """Return a line for each of (milliseconds, words), the longest first."""
    rows = sorted(given, reverse=True)
    total = sum(own for own, _ in rows) or 1.0
    return [f"{own:10.1f} ms {100 * own / total:5.1f} %  {words}" for own, words in rows]
