"""A finished run's model as files that are used without this package, checked when written."""

from importlib import resources
from pathlib import Path

from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.encoders.frameworks.transformers_output import no_transformers_bars
from encoder_ablations.engine.export.comparison import Comparison, compare
from encoder_ablations.engine.export.errors import write_log
from encoder_ablations.engine.export.onnx_file import load_onnx, save_onnx
from encoder_ablations.engine.export.photo_model import PhotoModel
from encoder_ablations.engine.export.runner import Runner
from encoder_ablations.engine.export.spec import ExportSpec
from encoder_ablations.engine.export.time_limit import time_limit
from encoder_ablations.engine.export.tracing import load_program, save_program, trace
from encoder_ablations.engine.export.transformers_folder import load_folder
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.experiments.exporting.check_images import CheckImages
from encoder_ablations.experiments.exporting.exported import FILES, Exported, Sized
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.segmenters.frameworks.transformers_segmenter import save_segmenter
from encoder_ablations.segmenters.zero_shot.texts import ReadsTexts
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.files import as_json, write_text

LIMITS = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}
"""Share of pixels that may have another label than the run gives them, for each precision."""

MOST_SECONDS = 90.0
"""After which a file for any size is given up, and one for a single size is written."""

NOT_ANY_SIZE = "PyTorch could not export this model for photos of any size"


def write_model(
    run: TrainedRun,
    predictor: Predictor,
    spec: ExportSpec,
    images: CheckImages,
    folder: Path,
    log: Path,
) -> Exported:
    """Write the model of a run into a folder and compare it with the run.

    Args:
        run: the run.
        predictor: of the run, on the CPU, without windows or views.
        spec: the settings.
        images: for the comparison.
        folder: exists.
        log: the file for the words of a library that cannot export the model for any size.

    Raises:
        InputError: the model cannot be written in this format.
        CannotContinue: it can, but predicts something else than the run.
    """
    (member,) = predictor.members
    if isinstance(member.segmenter.head, ReadsTexts):
        raise InputError(
            f"{run.record.spec.segmenter.name} finds classes by texts and cannot be exported. "
            "Predict with it by ablate predict, or from Python by load_run."
        )
    if spec.format == "hf":
        # models for semantic segmentation of transformers give masks alone
        member.segmenter.image_head = None
    runner, sized = _written(run, member, spec, images.size, folder, log)
    compared = images.at(sized.size)
    comparison = compare(runner, predictor, compared.samples)
    path = folder / FILES[spec.format]
    exported = Exported(spec, sized, compared.source, comparison, path.stat().st_size)
    limit = LIMITS[spec.precision]
    if comparison.share > limit or _tells_other_images(comparison, spec):
        raise CannotContinue(
            f"the exported model is not that of the run, so nothing was kept. {exported.agreement} "
            f"Allowed with {spec.precision} are {100 * limit:g} % of the pixels."
        )
    write_text(folder / "classes.json", as_json(_classes(run, member, sized)))
    if spec.format == "onnx":
        example = resources.files(__package__).joinpath("example_onnx.py")
        write_text(folder / "example.py", example.read_text(encoding="utf-8"))
    return exported


def _tells_other_images(comparison: Comparison, spec: ExportSpec) -> bool:
    """Return whether a file of full precision gives an image as a whole another class."""
    return spec.precision == "fp32" and bool(comparison.differing_images)


def _written(
    run: TrainedRun,
    member: Member,
    spec: ExportSpec,
    usual: tuple[int, int],
    folder: Path,
    log: Path,
) -> tuple[Runner, Sized]:
    """Write the model's file; return what computes by it, and the size that it takes."""
    path = folder / FILES[spec.format]
    if spec.format == "hf":
        own = run.record.spec
        config = {
            "encoder": own.encoder.model_dump(mode="json"),
            "segmenter": own.segmenter.model_dump(mode="json", exclude={"image_head"}),
            "short_side": member.short_side,
            "feature_precision": own.recipe.feature_precision,
        }
        with no_transformers_bars():
            save_segmenter(member.segmenter, config, own.dataset.classes, folder)
            return load_folder(folder), Sized(None)
    sized = _size(member, spec, usual)
    if sized.size is not None:
        return _traced(run, member, spec, sized, path), sized
    try:
        with time_limit(MOST_SECONDS):
            return _traced(run, member, spec, sized, path), sized
    except InputError as error:
        sized = Sized(usual, NOT_ANY_SIZE)
        write_log(error, log)
        print(f"{NOT_ANY_SIZE} (details: {log}); exporting it for one size", flush=True)
        return _traced(run, member, spec, sized, path), sized


def _traced(run: TrainedRun, member: Member, spec: ExportSpec, sized: Sized, path: Path) -> Runner:
    """Write the model as ONNX or a program of PyTorch; return what computes by it."""
    program = trace(PhotoModel(member.segmenter, sized.size, member.short_side))
    metadata = {"run": run.record.run_id, "classes.json": as_json(_classes(run, member, sized))}
    if spec.format == "torch":
        save_program(program, path, metadata)
        return load_program(path)
    save_onnx(program, path, metadata, spec.precision)
    return load_onnx(path)


def _size(member: Member, spec: ExportSpec, usual: tuple[int, int]) -> Sized:
    """Return the size that photos must have."""
    if spec.size is not None:
        return Sized(spec.size, "as --size says")
    if member.short_side is not None:
        reason = f"the run resizes photos to a short side of {member.short_side} pixels"
        return Sized(usual, reason)
    if member.segmenter.head.traced_for_one_size:
        reason = "this head can be exported for photos of one size only"
        return Sized(usual, reason)
    return Sized(None)


def _classes(run: TrainedRun, member: Member, sized: Sized) -> dict[str, object]:
    """Return what a program must know of the model's input and output."""
    dataset = run.record.spec.dataset
    named = zip(dataset.classes, colors_of(dataset), strict=True)
    classes = [
        {"id": number, "name": name, "color": list(color)}
        for number, (name, color) in enumerate(named)
    ]
    facts: dict[str, object] = {
        "run": run.record.run_id,
        "size": sized.size,
        "classes": classes,
    }
    if member.segmenter.image_head is not None:
        facts["image_classes"] = list(dataset.image_classes or ())
    return facts
