"""``ablate init``: a dataset YAML, a contact sheet and a first study for a folder of images."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import FileProblem, image_size
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.class_folders import write_class_folders
from encoder_ablations.data.intake.contact_sheet import write_sheet
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure
from encoder_ablations.data.intake.layouts.conversion import prepare
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.data.intake.ready_datasets import ready_dataset
from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.text.vocabulary import vocabulary_yaml
from encoder_ablations.experiments import options
from encoder_ablations.experiments.studies.first.sampling import Sampling, sampling_of
from encoder_ablations.experiments.studies.first.study_yaml import study_yaml
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import require_free, together, write_text
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import first_names
from encoder_ablations.utils.yaml_text import one_line

EXAMPLES = """  ablate init ~/photos/craters
  ablate init ~/coco --output my_coco.yaml
  ablate init ~/tiles --classes background,crater,boulder --name mars
  ablate init ~/vistas --masks v1.2/labels"""

ABOUT = """Looks at a folder, and writes a dataset YAML, a contact sheet (PNG) and a first study
YAML. Understood are images and masks of equal names (with or without train, val, test folders), a
folder of masks for each class, trees of tiles (R_G_B_IR.png, L.png), masks of ids, of 0 and 255, of
colours or with a palette, and the annotations of COCO, labelme, YOLO, Label Studio and Supervisely.
A folder of images for each class becomes a classification dataset (the YAML alone).
What masks mean is decided by the values in them. Where these allow several readings you are asked;
without a terminal the command ends and names the option that decides: --masks, --objects or
--blends. Converted masks go into a new folder; your files stay as they are."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate init --help``."""
    arguments = _parser().parse_args(argv)
    ready = ready_dataset(arguments.folder)
    if ready is not None:
        print(f"note: {ready.advice}")
    try:
        proposal = _propose(arguments)
    except InputError:
        # without masks, folders of images may be classes
        said = None
        if not arguments.masks and arguments.folder.is_dir():
            said = write_class_folders(arguments.folder, arguments.name, arguments.output)
        if said is None:
            raise
        print(said)
        return 0
    target = arguments.output or Path(f"{proposal.spec.name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {target}: the dataset YAML's name ends with .yaml.")
    beside = [target.with_name(f"{target.stem}_{kind}.yaml") for kind in ("study", "vocabulary")]
    paths = [target, target.with_suffix(".png"), *beside]
    for path in paths:
        if path.exists():
            raise InputError(f"{path} exists already. Choose another --output, or remove it.")
    prepared = target.with_name(f"{target.stem}_prepared")
    written = paths
    if not proposal.direct:
        require_free(prepared)
        written = [*paths, prepared]
    _refuse_bands(proposal)
    with together(*written):
        spec, unwritable, sampling = _write(proposal, prepared, paths)
    print(_summary(spec, [*proposal.remarks, *sampling.remarks], proposal, paths, unwritable))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("init", ABOUT, EXAMPLES)
    parser.add_argument("folder", type=Path, help="the folder that holds images and masks")
    parser.add_argument("--name", default="", help="name of the dataset (default: the folder's)")
    parser.add_argument(
        "--classes", default="", metavar="A,B,…", help="class names in the order of their ids"
    )
    parser.add_argument(
        "--masks",
        nargs="+",
        default=[],
        metavar="DIR",
        help="the folder of the masks; several: one for each class",
    )
    parser.add_argument(
        "--objects",
        action=argparse.BooleanOptionalAction,
        help="values number the objects of an image: all objects become one class",
    )
    parser.add_argument(
        "--blends",
        action=argparse.BooleanOptionalAction,
        help="values that form no areas are blends along smoothed edges, and no classes",
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="chooses validation images where no folder does"
    )
    parser.add_argument(
        "--output", type=Path, metavar="YAML", help="the dataset YAML (default NAME.yaml)"
    )
    return parser


def _propose(arguments: argparse.Namespace) -> Proposal:
    """Return what was recognised; the person at the terminal chooses between several readings.

    Raises:
        Unsure: there is no terminal, or no answer.
    """
    classes = []
    if arguments.classes:
        classes = [name.strip() for name in arguments.classes.split(",")]
    require_names(classes, "--classes")
    choices = {"masks": arguments.masks, "objects": arguments.objects, "blends": arguments.blends}
    while True:
        try:
            with options.bar("reading masks", "mask") as bar:
                return propose(
                    arguments.folder,
                    arguments.name,
                    classes,
                    arguments.seed,
                    _advancing(bar),
                    **choices,
                )
        except Unsure as unsure:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise
            choices |= _ask(unsure).choice


def _ask(unsure: Unsure) -> Reading:
    """Return the reading that the person chooses by its number.

    Raises:
        Unsure: the input ends.
    """
    allowed = {str(number): reading for number, reading in enumerate(unsure.readings, start=1)}
    lines = [f"  {number}  {each.text}   [{each.option}]" for number, each in allowed.items()]
    print("\n".join([unsure.question, *lines]), file=sys.stderr)
    answer = ""
    while answer.strip() not in allowed:
        print(f"Which one? 1..{len(allowed)}: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise unsure
    return allowed[answer.strip()]


def _refuse_bands(proposal: Proposal) -> None:
    """Look at the first image, before masks are converted in vain.

    Raises:
        InputError: the first image is a TIFF that has to be cut first.
    """
    try:
        image_size(proposal.items[0].image)
    except FileProblem as problem:
        if problem.rule == "tiff-bands":
            raise


def _write(
    proposal: Proposal, prepared: Path, paths: list[Path]
) -> tuple[DatasetSpec, list[str], Sampling]:
    """Write all files.

    Returns:
        The dataset, the classes whose letters no font has, and what the study's images bear.

    Args:
        proposal: what was recognised.
        prepared: the folder of converted masks, if any.
        paths: of the dataset's YAML, the contact sheet, the study's YAML and the vocabulary.
    """
    spec = proposal.spec
    if not proposal.direct:
        with options.bar("converting masks", "mask") as bar:
            spec = prepare(proposal, prepared, _advancing(bar))
    write_text(paths[0], dataset_yaml(spec, proposal))
    load_dataset(str(paths[0]))
    unwritable = write_sheet(
        spec, paths[1], f"{spec.name}: {proposal.layout}; masks: {proposal.kind}"
    )
    sampling = sampling_of(spec)
    write_text(paths[2], study_yaml(spec, paths[0], sampling))
    write_text(paths[3], vocabulary_yaml(spec.classes))
    return spec, unwritable, sampling


def _advancing(bar: Bar) -> Callable[[int, int], object]:
    def advance(_done: int, total: int) -> None:
        bar.total = total
        bar.update()

    return advance


def _summary(
    spec: DatasetSpec,
    remarks: list[str],
    proposal: Proposal,
    paths: list[Path],
    unwritable: list[str],
) -> str:
    counts = ", ".join(f"{len(FolderDataset(spec, split))} {split}" for split in spec.splits)
    lines = [f"recognised: {proposal.layout}; masks: {proposal.kind}", f"pairs: {counts}"]
    lines.append(f"classes ({len(spec.classes)}): {first_names(spec.classes, 12)}")
    lines += [f"note: {remark}" for remark in remarks]
    if unwritable:
        named = first_names(unwritable, 5)
        lines.append(
            f"note: no font on this machine has the letters of {named}: the contact sheet shows "
            "class ids."
        )
    if not proposal.direct:
        lines.append(f"converted: {spec.root}")
    lines += [
        f"dataset: {paths[0]}",
        f"contact sheet: {paths[1]}   look at it before you go on",
        f"study: {paths[2]}",
        f"vocabulary: {paths[3]}   the texts of each class, for heads that need no labels",
    ]
    return "\n".join([*lines, f"next: ablate lint {paths[0]}", f"then: ablate run {paths[2]}"])


def dataset_yaml(spec: DatasetSpec, proposal: Proposal) -> str:
    """Return the dataset's YAML, with a comment at what a person may want to correct."""
    lines = [
        f"# {spec.name}: written by  ablate init  from {proposal.spec.root}",
        f"# Recognised: {proposal.layout}; masks: {proposal.kind}.",
        *(f"# {remark}" for remark in proposal.remarks),
        f"name: {spec.name}",
        f"root: {one_line(spec.root)}",
        "# class names in id order: 0, 1, 2, …",
        "classes:",
        *(f"  - {one_line(name)}  # {number}" for number, name in enumerate(spec.classes)),
        "# sub-folders of the two folders below; 'test' is reported on if there is one, else 'val'",
        f"splits: {one_line(spec.splits)}",
    ]
    if (spec.images, spec.masks) != ("images", "masks"):
        lines += [f"images: {one_line(spec.images)}", f"masks: {one_line(spec.masks)}"]
    lines += [
        "# values in the masks that mean 'not labelled'",
        f"ignore_ids: {one_line(spec.ignore_ids)}",
    ]
    return "\n".join([*lines, *_about_values(spec), *_about_scenes(spec)]) + "\n"


def _about_values(spec: DatasetSpec) -> list[str]:
    """Return the lines that say what values in the masks mean, where they are not the ids."""
    lines = []
    if spec.value_map is not None:
        lines += [
            "# value in the mask file: class id (255 = ignore)",
            f"value_map: {one_line(spec.value_map)}",
        ]
    if spec.mask_format != "ids":
        lines += [
            "# grey levels: background below 128, the object from 128 on",
            f"mask_format: {spec.mask_format}",
        ]
    if spec.colors is not None:
        lines += ["# RGB of each class in pictures", "colors:"]
        lines += [f"  - {one_line(color)}" for color in spec.colors]
    return lines


def _about_scenes(spec: DatasetSpec) -> list[str]:
    if spec.scene_pattern is None:
        return [
            "# scene_pattern: ^([^_]+)_      if images of one scene (frames, tiles) share the "
            "beginning of their names"
        ]
    return [
        "# what images of one scene have in common in their names",
        f"scene_pattern: {one_line(spec.scene_pattern)}",
    ]
