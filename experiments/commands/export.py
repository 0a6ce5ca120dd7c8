"""``ablate export``: a trained model as ONNX, a PyTorch program or a transformers folder."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.engine.export.spec import ExportSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free, write_text
from encoder_ablations.utils.optional import missing

if TYPE_CHECKING:
    from encoder_ablations.experiments.exporting.exported import Exported

ALLOWED = {"format": ("onnx", "torch", "hf"), "precision": ("fp32", "fp16", "int8")}
EXAMPLES = """  ablate export outputs/demo -o exported
  ablate export outputs/demo/runs/RUN --size 512x1024 -o exported
  ablate export outputs/demo --runs 'EfficientNet*seed0' --precision fp16 -o exported
  ablate export outputs/demo --format hf -o exported --push-to-hub me/my-model"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate export --help``."""
    arguments = _parser().parse_args(argv)
    spec = _read(arguments)
    run = _only(chosen_runs(arguments.model, arguments.runs))
    require_free(arguments.output)
    if spec.format == "onnx":
        _require_onnx()
    # PyTorch is not needed to refuse what is above
    exported = _export(run, spec, arguments.output)
    print(exported.agreement)
    print(exported.timing)
    print(f"wrote {arguments.output}: README.md is the model's card")
    if arguments.push_to_hub is not None:
        from encoder_ablations.experiments.exporting.hub import push

        print(f"uploaded to {push(arguments.output, arguments.push_to_hub)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "export", "Writes a trained model as files that run elsewhere.", EXAMPLES
    )
    parser.add_argument(
        "model", type=Path, help="folder of a finished run, or of a study: its best run on val"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="a new folder, or an empty one"
    )
    parser.add_argument(
        "--format",
        default="onnx",
        help="onnx, torch (a .pt2 file of torch.export) or hf (transformers); default onnx",
    )
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="NAME", help="of a study: the run named so"
    )
    parser.add_argument(
        "--size", metavar="HxW", help="height x width of all photos, e.g. 512x1024 (default: any)"
    )
    parser.add_argument(
        "--precision", default="fp32", help="of an ONNX file: fp32, fp16 or int8 (default fp32)"
    )
    parser.add_argument(
        "--push-to-hub", metavar="NAME", help="upload the folder to this repository (owner/name)"
    )
    return parser


def _read(arguments: argparse.Namespace) -> ExportSpec:
    """Return what the options say.

    Raises:
        InputError: a value is not allowed.
    """
    for option, allowed in ALLOWED.items():
        given = getattr(arguments, option)
        if given not in allowed:
            raise InputError(f"--{option} {given}: allowed are {', '.join(allowed)}.")
    content = {"format": arguments.format, "precision": arguments.precision}
    if arguments.size is not None:
        content["size"] = _sides(arguments.size)
    return build(ExportSpec, content, "--format, --size or --precision")


def _sides(text: str) -> list[str]:
    """Return height and width, as they are written in ``HxW``.

    Raises:
        InputError: there are not two numbers.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise InputError(f"--size {text}: write height x width in pixels, e.g. 512x512.")
    return sides


def _only(runs: Sequence[TrainedRun]) -> TrainedRun:
    """Return the only run.

    Raises:
        InputError: there are several.
    """
    if len(runs) > 1:
        raise InputError(
            f"{len(runs)} runs are an ensemble, which is not one model. Export one run: name its "
            "folder, or more of its name with --runs."
        )
    return runs[0]


def _require_onnx() -> None:
    """Refuse to go on without the packages of the extra "export"."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise missing("onnx", ImportError(f"No module named '{name}'"))


def _export(run: TrainedRun, spec: ExportSpec, output: Path) -> "Exported":
    """Write the whole folder, or nothing."""
    import torch

    from encoder_ablations.engine.export.errors import ExportError, write_log
    from encoder_ablations.engine.inference.spec import InferenceSpec
    from encoder_ablations.experiments.exporting.check_images import check_images
    from encoder_ablations.experiments.exporting.exporting import write_model
    from encoder_ablations.experiments.exporting.model_card import model_card
    from encoder_ablations.experiments.prediction.models import make_predictor

    predictor = make_predictor([run], InferenceSpec(), torch.device("cpu"))
    images = check_images(run.record.spec)
    print(f"exporting {run.record.run_id} ({run.record.score})", flush=True)
    log = output.with_name(f"{output.name}.log")
    try:
        with new_folder(output) as folder:
            exported = write_model(run, predictor, spec, images, folder, log)
            write_text(folder / "README.md", model_card(run, exported))
    except ExportError as error:
        write_log(error, log)
        raise InputError(f"{error} Details: {log}") from error
    size = exported.sized.size
    if size is not None:
        print(
            f"photos must be {size[0]}×{size[1]} pixels (H×W; choose with --size): "
            f"{exported.sized.reason}"
        )
    return exported
