"""Check that a Detectron2 configuration is for the one task that encoders are compared on."""

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.experiments.detectron2_loop.repository import DEFAULT
from encoder_ablations.utils.config import config_names
from encoder_ablations.utils.errors import InputError, nearest

TASK = {
    "MODEL.META_ARCHITECTURE": "MaskFormer",
    "INPUT.DATASET_MAPPER_NAME": "mask_former_semantic",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": True,
}
"""The keys of the one task that encoders are compared on, semantic segmentation."""


def check_task(cfg: CfgNode, path: Path) -> None:
    """Check that ``cfg`` is for semantic segmentation by Mask2Former.

    Raises:
        InputError: it is for another task.
    """
    found = {
        "MODEL.META_ARCHITECTURE": cfg.MODEL.META_ARCHITECTURE,
        "INPUT.DATASET_MAPPER_NAME": cfg.INPUT.DATASET_MAPPER_NAME,
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": cfg.MODEL.MASK_FORMER.TEST.SEMANTIC_ON,
    }
    for key, wanted in TASK.items():
        if found[key] != wanted:
            raise InputError(
                f"{path} is for another task: {key} is {found[key]}, supported is {wanted}. Take a "
                f"semantic-segmentation configuration such as {DEFAULT}."
            )


def check_datasets(cfg: CfgNode, dataset: DatasetSpec | None) -> None:
    """Check the datasets before Detectron2, which fails late and in an assertion of its own.

    Raises:
        InputError: one is unknown, has other classes than the model, or is not ``dataset``.
    """
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if name not in DatasetCatalog:
                raise _unknown_dataset(key, name)
            _check_classes(name, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
            _check_ignored(name, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
    if dataset is not None and (f"{dataset.name}_train",) != cfg.DATASETS.TRAIN:
        raise InputError(
            f"DATASETS.TRAIN is {cfg.DATASETS.TRAIN}, --dataset is {dataset.name}; give one of "
            "them."
        )


def check_files(cfg: CfgNode, eval_only: bool) -> None:
    """Check that the files of the datasets, which are not ours, are there.

    Raises:
        InputError: Detectron2 cannot list them.
    """
    for key in ("TRAIN", "TEST")[eval_only:]:
        for name in cfg.DATASETS[key]:
            try:
                DatasetCatalog.get(name)
            except (OSError, AssertionError, ValueError, LookupError) as error:
                reason = " ".join(str(error).split())
                raise InputError(
                    f"DATASETS.{key}: the files of {name} cannot be listed ({reason}). Set "
                    "DETECTRON2_DATASETS to the folder that holds them, or name a --dataset."
                ) from error


def _check_ignored(name: str, given: int) -> None:
    ignored = MetadataCatalog.get(name).get("ignore_label", given)
    if given != ignored:
        raise InputError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {given}, the dataset {name} ignores {ignored}. "
            "Leave the key out."
        )


def _check_classes(name: str, wanted: int) -> None:
    classes = MetadataCatalog.get(name).get("stuff_classes")
    if not classes:
        raise InputError(
            f"the dataset {name} has no stuff_classes, so there is nothing to segment. "
            f"Give a --dataset YAML, or call MetadataCatalog.get('{name}').set("
            "stuff_classes=[…], ignore_label=255, evaluator_type='sem_seg')."
        )
    if len(classes) != wanted:
        raise InputError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {wanted}, the dataset {name} has {len(classes)} "
            "classes. Correct the key, or leave it out and give a --dataset YAML."
        )


def _unknown_dataset(key: str, name: str) -> InputError:
    ours, _, split = name.rpartition("_")
    hint = nearest(name, DatasetCatalog.list())
    if ours in config_names("datasets") and split in ("train", "val", "test"):
        hint = f" Say --dataset {ours}."
    return InputError(
        f"DATASETS.{key}: Detectron2 knows no dataset {name}.{hint} "
        "For one of your own say --dataset YAML, or register it."
    )
