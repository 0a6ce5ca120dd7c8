"""From the arguments of ``train_net.py`` to a checked Detectron2 configuration."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.projects.deeplab import add_deeplab_config

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.detectron2 import register_datasets, register_subset
from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.frameworks.detectron2 import (
    add_encoder_config,
    apply_encoder,
    build_encoder_ablations_backbone,
    spec_from_config,
)
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.experiments.detectron2_loop.repository import DEFAULT, find_yaml
from encoder_ablations.experiments.detectron2_loop.translation import DTYPES, run_spec_of
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.heads.mask2former_official import import_official
from encoder_ablations.utils.config import config_names
from encoder_ablations.utils.errors import InputError, nearest, unknown

MAPPER = "mask_former_semantic"


@dataclass
class Setup:
    """What is to be trained.

    Attributes:
        spec, data: None where encoder or dataset are not ours: then there is no record.
        notes: what was set for the user, a sentence each.
    """

    cfg: CfgNode
    spec: RunSpec | None = None
    data: RunData | None = None
    notes: list[str] = field(default_factory=list)


def configure(arguments: argparse.Namespace) -> Setup:
    """Read and check everything before anything is built or written.

    Raises:
        InputError: whatever a user can put right.
    """
    options = _read_options(arguments.opts or [])
    if arguments.fraction is not None and not 0 < arguments.fraction <= 1:
        raise InputError(
            f"--fraction {arguments.fraction:g}: allowed is more than 0, at most 1 (1 = all "
            "images)."
        )
    setup = Setup(_default_config())
    cfg = setup.cfg
    path = find_yaml(arguments.config_file or DEFAULT)
    with _as_input_error(cfg, str(path)):
        cfg.merge_from_file(str(path))
    _check_task(cfg, path)
    _apply_seed(setup, arguments.seed, options)
    _apply_encoder(cfg, arguments, options)
    dataset = load_dataset(arguments.dataset) if arguments.dataset else None
    if dataset is not None:
        _apply_dataset(cfg, dataset)
    with _as_input_error(cfg, "the command line"):
        cfg.merge_from_list(_flat(options))
    _check_task(cfg, path)
    _check_datasets(cfg, dataset)
    _choose_device(setup, arguments.num_gpus, options)
    _fit_padding(setup, options)
    if dataset is not None and build_encoder_ablations_backbone.__name__ == cfg.MODEL.BACKBONE.NAME:
        _plan_run(setup, dataset, arguments, options)
    else:
        _plan_without_record(setup, dataset, arguments)
    return setup


def _apply_encoder(cfg: CfgNode, arguments: argparse.Namespace, options: dict[str, str]) -> None:
    if arguments.encoder:
        changes = {}
        if arguments.freeze is not None:
            changes["freeze"] = yaml.safe_load(arguments.freeze)
        with _as_input_error(cfg, "the command line"):
            apply_encoder(cfg, load_encoder(arguments.encoder, changes), _flat(options))
    elif arguments.freeze is not None:
        raise InputError("--freeze says which part of --encoder learns; name an encoder, too.")


def _plan_without_record(
    setup: Setup, dataset: DatasetSpec | None, arguments: argparse.Namespace
) -> None:
    """Check what can be checked where encoder or dataset are not ours."""
    if arguments.fraction is not None:
        raise InputError("--fraction takes a share of --dataset for an --encoder; name both.")
    if dataset is not None:
        check_dataset(dataset)
    setup.notes.append("no record.json is written: that needs an --encoder and a --dataset.")


def _default_config() -> CfgNode:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    import_official().add_maskformer2_config(cfg)
    add_encoder_config(cfg)
    cfg.SOLVER.AMP.DTYPE = "float16"
    return cfg


def _plan_run(
    setup: Setup, dataset: DatasetSpec, arguments: argparse.Namespace, options: dict[str, str]
) -> None:
    """Describes the run, picks its images and names its folder."""
    cfg = setup.cfg
    fraction = 1.0 if arguments.fraction is None else arguments.fraction
    setup.spec = run_spec_of(cfg, spec_from_config(cfg), dataset, fraction)
    setup.data = prepare_data(setup.spec)
    if fraction < 1:
        cfg.DATASETS.TRAIN = (
            register_subset(dataset, setup.data.train.indices, fraction, cfg.SEED),
        )
    if "OUTPUT_DIR" in options:
        return
    cfg.OUTPUT_DIR = str(arguments.output / "runs" / setup.spec.run_id)
    if arguments.eval_only and "MODEL.WEIGHTS" in options:
        cfg.OUTPUT_DIR = str(Path(cfg.MODEL.WEIGHTS).parent / "evaluation")


def _apply_seed(setup: Setup, seed: int | None, options: dict[str, str]) -> None:
    if seed is not None and options.get("SEED", str(seed)) != str(seed):
        raise InputError(f"--seed is {seed}, SEED is {options['SEED']}; give one of them.")
    if seed is not None and seed < 0:
        raise InputError(f"--seed {seed}: allowed are 0 and more.")
    setup.cfg.SEED = max(setup.cfg.SEED, 0) if seed is None else seed


def _apply_dataset(cfg: CfgNode, dataset: DatasetSpec) -> None:
    names = register_datasets(dataset)
    cfg.DATASETS.TRAIN = tuple(name for name in names if name.endswith("_train"))
    cfg.DATASETS.TEST = tuple(name for name in names if name.endswith("_val"))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(dataset.classes)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = dataset.ignore_label


def _check_task(cfg: CfgNode, path: Path) -> None:
    """Semantic segmentation by Mask2Former is what encoders are compared on."""
    for key, value, wanted in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, "MaskFormer"),
        ("INPUT.DATASET_MAPPER_NAME", cfg.INPUT.DATASET_MAPPER_NAME, MAPPER),
        ("MODEL.MASK_FORMER.TEST.SEMANTIC_ON", cfg.MODEL.MASK_FORMER.TEST.SEMANTIC_ON, True),
    ):
        if value != wanted:
            raise InputError(
                f"{path} is for another task: {key} is {value}, supported is {wanted}. Take a "
                f"semantic-segmentation configuration such as {DEFAULT}."
            )


def _check_datasets(cfg: CfgNode, dataset: DatasetSpec | None) -> None:
    """Detectron2 would otherwise fail late, in an assertion of its own."""
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if name not in DatasetCatalog:
                raise _unknown_dataset(key, name)
            metadata = MetadataCatalog.get(name)
            classes = metadata.get("stuff_classes")
            if not classes:
                raise InputError(
                    f"the dataset {name} has no stuff_classes, so there is nothing to segment. "
                    f"Give a --dataset YAML, or call MetadataCatalog.get('{name}').set("
                    "stuff_classes=[…], ignore_label=255, evaluator_type='sem_seg')."
                )
            if len(classes) != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES:
                raise InputError(
                    f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES}, the "
                    f"dataset {name} has {len(classes)} classes. Correct the key, or leave it out "
                    "and give a --dataset YAML."
                )
    if dataset is not None and (f"{dataset.name}_train",) != cfg.DATASETS.TRAIN:
        raise InputError(
            f"DATASETS.TRAIN is {cfg.DATASETS.TRAIN}, --dataset is {dataset.name}; give one of "
            "them."
        )


def _unknown_dataset(key: str, name: str) -> InputError:
    ours = [
        known
        for known in config_names("datasets")
        if name in (f"{known}_train", f"{known}_val", f"{known}_test")
    ]
    hint = f" Say --dataset {ours[0]}." if ours else nearest(name, DatasetCatalog.list())
    return InputError(
        f"DATASETS.{key}: Detectron2 knows no dataset {name}.{hint} "
        "For one of your own say --dataset YAML, or register it."
    )


def _choose_device(setup: Setup, gpus: int, options: dict[str, str]) -> None:
    cfg, count = setup.cfg, torch.cuda.device_count()
    if cfg.SOLVER.AMP.DTYPE not in DTYPES:
        raise unknown("SOLVER.AMP.DTYPE", cfg.SOLVER.AMP.DTYPE, DTYPES)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        if "MODEL.DEVICE" in options:
            raise InputError(
                f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but PyTorch sees no CUDA device here. Say "
                "MODEL.DEVICE cpu, or leave it out."
            )
        cfg.MODEL.DEVICE = "cpu"
        setup.notes.append("there is no CUDA device: training on the CPU.")
    if gpus < 0:
        raise InputError(f"--num-gpus {gpus}: allowed are 0 and more.")
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    if gpus > max(count, 1) or (gpus > 1 and not on_gpu):
        raise InputError(f"--num-gpus {gpus}, but there are {count if on_gpu else 0} to use here.")
    if not on_gpu and cfg.SOLVER.AMP.ENABLED:
        cfg.SOLVER.AMP.ENABLED = False
        setup.notes.append("mixed precision is off: Detectron2's needs CUDA.")


def _fit_padding(setup: Setup, options: dict[str, str]) -> None:
    """Choose SIZE_DIVISIBILITY: the official mapper pads to it, and cuts off what is larger."""
    cfg, key = setup.cfg, "INPUT.SIZE_DIVISIBILITY"
    cropped = cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE == "absolute"
    largest = int(max(cfg.INPUT.CROP.SIZE)) if cropped else cfg.INPUT.MAX_SIZE_TRAIN
    given = cfg.INPUT.SIZE_DIVISIBILITY
    if key in options:
        if 0 < given < largest:
            raise InputError(
                f"{key} is {given}, but training images have up to {largest} pixels a side, and "
                f"Mask2Former cuts off what is over. Say {largest} or more, -1 (pad to the largest "
                "of a batch), or leave it out."
            )
        return
    fitting = largest if cropped else -1
    if given != fitting:
        cfg.INPUT.SIZE_DIVISIBILITY = fitting
        decisive = "INPUT.CROP.SIZE" if cropped else "INPUT.CROP.ENABLED"
        setup.notes.append(f"{key} is {fitting}, following {decisive}.")


def _read_options(opts: Sequence[str]) -> dict[str, str]:
    """``KEY VALUE KEY VALUE …`` as a mapping; argparse gives everything after the first of them."""
    misplaced = next((word for word in opts if word.startswith("--")), None)
    if misplaced:
        raise InputError(
            f"{misplaced} comes after a KEY VALUE pair; options that begin with -- go first."
        )
    if len(opts) % 2:
        raise InputError(
            f"configuration keys come as KEY VALUE pairs; '{opts[-1]}' has no partner."
        )
    return dict(zip(opts[::2], opts[1::2], strict=True))


def _flat(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


@contextmanager
def _as_input_error(cfg: CfgNode, source: str) -> Iterator[None]:
    """What Detectron2's configuration says of wrong keys, types and files, in one line."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, ValueError, AssertionError, AttributeError, yaml.YAMLError) as error:
        text = " ".join(str(error.args[0] if error.args else error).split())
        key = text.rpartition(" ")[2] if "on-existent" in text else ""
        hint = nearest(key, _keys(cfg)) if key else ""
        raise InputError(f"{source}: {text.rstrip('.')}.{hint}") from error


def _keys(node: CfgNode, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in node.items():
        key: Any = f"{prefix}{name}"
        found += _keys(value, f"{key}.") if isinstance(value, CfgNode) else [key]
    return found
