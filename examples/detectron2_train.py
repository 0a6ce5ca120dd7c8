"""A Detectron2 training script with one of our encoders: semantic FPN on generated terrain.

    python examples/detectron2_train.py

It runs on the CPU. Three lines are ours: ``add_encoder_config``, ``apply_encoder`` and
``register_datasets``. The rest is Detectron2's. It needs Detectron2 (docs/setup.md says how to
install it), but not Mask2Former.
"""

import os
import sys
from pathlib import Path

import encoder_ablations as ea

try:
    from encoder_ablations.data.detectron2 import register_datasets
    from encoder_ablations.encoders.frameworks.detectron2 import add_encoder_config, apply_encoder
except ea.InputError as error:  # says that Detectron2 is missing, and how to get it
    sys.exit(f"error: {error}")

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils.logger import setup_logger

DATA = Path("datasets/detectron2_train")
OUTPUT = Path("outputs/detectron2_train")
STEPS = 20


def configure(encoder: str, *options: str) -> CfgNode:
    """Return Detectron2's configuration of a semantic FPN.

    Args:
        encoder: a name that ``ablate encoders`` lists, or the path of a YAML.
        options: ``KEY``, ``VALUE``, … which win over everything else.
    """
    cfg = get_cfg()
    add_encoder_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("terrain_train",), ("terrain_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, STEPS, ()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS = 0.01, 0
    cfg.OUTPUT_DIR, cfg.SEED = str(OUTPUT), 0
    # sets backbone, pixel mean and deviation, and the order of the channels
    apply_encoder(cfg, encoder)
    cfg.merge_from_list(list(options))
    return cfg


class Trainer(DefaultTrainer):
    """Detectron2's trainer, which evaluates mIoU."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SemSegEvaluator:
        """Return the evaluator of a registered split."""
        return SemSegEvaluator(
            dataset_name, distributed=False, output_dir=os.path.join(cfg.OUTPUT_DIR, "evaluation")
        )


def main() -> None:
    """Draw the dataset, train, and print the mIoU."""
    ea.generate_terrain(DATA, train=16, val=4, test=2, size=64, seed=0)
    register_datasets({"base": "mars_terrain", "name": "terrain", "root": str(DATA.resolve())})
    cfg = configure("darknet_tiny")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    setup_logger(str(OUTPUT))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    result = Trainer.test(cfg, trainer.model)
    print(f"mIoU {result['sem_seg']['mIoU']:.1f} % on terrain_val after {STEPS} steps")


if __name__ == "__main__":
    main()
