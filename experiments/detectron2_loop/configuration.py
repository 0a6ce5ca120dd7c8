"""From the arguments of ``train_net.py`` to a checked Detectron2 configuration."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
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
from encoder_ablations.experiments.detectron2_loop.command_line import (
    as_input_error,
    flat,
    read_options,
)
from encoder_ablations.experiments.detectron2_loop.limits import check_device, check_limits
from encoder_ablations.experiments.detectron2_loop.repository import DEFAULT, find_yaml
from encoder_ablations.experiments.detectron2_loop.task import (
    check_datasets,
    check_files,
    check_task,
)
from encoder_ablations.experiments.detectron2_loop.translation import DTYPES, run_spec_of
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.heads.mask2former_official import import_official
from encoder_ablations.utils.errors import InputError, unknown


@dataclass(frozen=True)
class RecordedRun:
    """A run of our encoder on our dataset, which leaves a record."""

    spec: RunSpec
    data: RunData


@dataclass
class Setup:
    """What is to be trained.

    Attributes:
        run: None where encoder or dataset are not ours: then there is no record.
        notes: what was set for the user, a sentence each.
        options: the KEY VALUE pairs of the command line.
    """

    cfg: CfgNode
    run: RecordedRun | None = None
    notes: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> RunSpec | None:
        """Of the run, if it is recorded."""
        if self.run is None:
            return None
        return self.run.spec


def configure(arguments: argparse.Namespace) -> Setup:
    """Read and check everything before anything is built or written.

    Raises:
        InputError: whatever a user can put right.
    """
    options = read_options(arguments.opts or [])
    setup = Setup(_default_config(), options=options)
    cfg = setup.cfg
    path = find_yaml(arguments.config_file or DEFAULT)
    with as_input_error(cfg, str(path)):
        cfg.merge_from_file(str(path))
    check_task(cfg, path)
    _apply_seed(setup, arguments.seed, options)
    _apply_encoder(cfg, arguments, options)
    dataset = None
    if arguments.dataset:
        dataset = load_dataset(arguments.dataset)
        _apply_dataset(cfg, dataset)
    with as_input_error(cfg, "the command line"):
        cfg.merge_from_list(flat(options))
    check_task(cfg, path)
    _choose_device(setup, arguments.num_gpus, options)
    check_limits(cfg, arguments.num_gpus * arguments.num_machines)
    check_datasets(cfg, dataset)
    _fit_padding(setup, options)
    ours = build_encoder_ablations_backbone.__name__ == cfg.MODEL.BACKBONE.NAME
    if dataset is not None and ours:
        _plan_run(setup, dataset, arguments, options)
    else:
        _plan_without_record(setup, dataset, arguments)
    return setup


def _apply_encoder(cfg: CfgNode, arguments: argparse.Namespace, options: dict[str, str]) -> None:
    """Set the backbone that ``--encoder`` and ``--freeze`` name.

    Raises:
        InputError: ``--freeze`` without ``--encoder``, or a value that is not allowed.
    """
    changes = {}
    if arguments.freeze is not None:
        with as_input_error(cfg, f"--freeze {arguments.freeze}"):
            changes["freeze"] = yaml.safe_load(arguments.freeze)
    if arguments.encoder:
        with as_input_error(cfg, "the command line"):
            apply_encoder(cfg, load_encoder(arguments.encoder, changes), flat(options))
    elif changes:
        raise InputError("--freeze says which part of --encoder learns; name an encoder, too.")


def _plan_without_record(
    setup: Setup, dataset: DatasetSpec | None, arguments: argparse.Namespace
) -> None:
    """Check what can be checked where encoder or dataset are not ours."""
    if arguments.fraction is not None:
        raise InputError("--fraction takes a share of --dataset for an --encoder; name both.")
    if dataset is None:
        check_files(setup.cfg, arguments.eval_only)
    else:
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
    """Describe the run, pick its images and name its folder.

    Raises:
        InputError: ``--fraction`` is out of range, or something is wrong with the dataset.
    """
    cfg, fraction = setup.cfg, arguments.fraction
    if fraction is None:
        fraction = 1.0
    if not 0 < fraction <= 1:
        raise InputError(
            f"--fraction {fraction:g}: allowed is more than 0, at most 1 (1 = all images)."
        )
    spec = run_spec_of(cfg, spec_from_config(cfg), dataset, fraction)
    data = prepare_data(spec)
    setup.run = RecordedRun(spec, data)
    if fraction < 1:
        cfg.DATASETS.TRAIN = (register_subset(dataset, data.train.indices, fraction, cfg.SEED),)
    if "OUTPUT_DIR" in options:
        return
    cfg.OUTPUT_DIR = str(arguments.output / "runs" / spec.run_id)
    if arguments.eval_only and "MODEL.WEIGHTS" in options:
        cfg.OUTPUT_DIR = str(Path(cfg.MODEL.WEIGHTS).parent / "evaluation")


def _apply_seed(setup: Setup, seed: int | None, options: dict[str, str]) -> None:
    """Set SEED; a negative one, which Detectron2 takes for "random", becomes 0.

    Raises:
        InputError: the seed is negative, or SEED says another one.
    """
    if seed is None:
        setup.cfg.SEED = max(setup.cfg.SEED, 0)
        return
    if options.get("SEED", str(seed)) != str(seed):
        raise InputError(f"--seed is {seed}, SEED is {options['SEED']}; give one of them.")
    if seed < 0:
        raise InputError(f"--seed {seed}: allowed are 0 and more.")
    setup.cfg.SEED = seed


def _apply_dataset(cfg: CfgNode, dataset: DatasetSpec) -> None:
    names = register_datasets(dataset)
    cfg.DATASETS.TRAIN = tuple(name for name in names if name.endswith("_train"))
    cfg.DATASETS.TEST = tuple(name for name in names if name.endswith("_val"))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(dataset.classes)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = dataset.ignore_label


def _choose_device(setup: Setup, gpus: int, options: dict[str, str]) -> None:
    """Fall back to the CPU and to float32 where a machine has no GPU.

    Raises:
        InputError: what was asked for cannot be had here.
    """
    cfg = setup.cfg
    if cfg.SOLVER.AMP.DTYPE not in DTYPES:
        raise unknown("SOLVER.AMP.DTYPE", cfg.SOLVER.AMP.DTYPE, DTYPES)
    if _on_gpu(cfg) and not torch.cuda.is_available():
        if "MODEL.DEVICE" in options:
            raise InputError(
                f"MODEL.DEVICE is {cfg.MODEL.DEVICE}, but PyTorch sees no CUDA device here. Say "
                "MODEL.DEVICE cpu, or leave it out."
            )
        cfg.MODEL.DEVICE = "cpu"
        setup.notes.append("there is no CUDA device: training on the CPU.")
    check_device(cfg.MODEL.DEVICE)
    usable = 0
    if _on_gpu(cfg):
        usable = torch.cuda.device_count()
    # one process on the CPU is one "GPU" in Detectron2's terms
    if not 0 <= gpus <= max(usable, 1):
        raise InputError(
            f"--num-gpus {gpus}: there are {usable} to use here; allowed are 0 to {max(usable, 1)}."
        )
    if cfg.SOLVER.AMP.ENABLED and not _on_gpu(cfg):
        cfg.SOLVER.AMP.ENABLED = False
        setup.notes.append("mixed precision is off: Detectron2's needs CUDA.")


def _on_gpu(cfg: CfgNode) -> bool:
    return str(cfg.MODEL.DEVICE).startswith("cuda")


def _fit_padding(setup: Setup, options: dict[str, str]) -> None:
    """Choose SIZE_DIVISIBILITY: the official mapper pads to it, and cuts off what is larger.

    Raises:
        InputError: the user's value is smaller than the training images.
    """
    cfg, key = setup.cfg, "INPUT.SIZE_DIVISIBILITY"
    given = cfg.INPUT.SIZE_DIVISIBILITY
    # without a crop of fixed size only padding to the largest image of a batch (-1) fits
    fitting, largest, decisive = -1, cfg.INPUT.MAX_SIZE_TRAIN, "INPUT.CROP.ENABLED"
    if cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE == "absolute":
        largest = int(max(cfg.INPUT.CROP.SIZE))
        fitting, decisive = largest, "INPUT.CROP.SIZE"
    if key not in options:
        if given != fitting:
            cfg.INPUT.SIZE_DIVISIBILITY = fitting
            setup.notes.append(f"{key} is {fitting}, following {decisive}.")
    elif 0 < given < largest:
        raise InputError(
            f"{key} is {given}, but training images have up to {largest} pixels a side, and "
            f"Mask2Former cuts off what is over. Say {largest} or more, -1 (pad to the largest "
            "of a batch), or leave it out."
        )
