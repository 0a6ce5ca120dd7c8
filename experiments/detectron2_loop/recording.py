"""Record a run of Detectron2: its best weights, evaluated by the official model."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm

from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.counting import count_image
from encoder_ablations.engine.evaluation.evaluate import Evaluation
from encoder_ablations.engine.evaluation.per_image import ImageCounts, PerImage, save_per_image
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.experiments.detectron2_loop.trainer import Recorder, unwrapped
from encoder_ablations.experiments.runs.pictures import PICTURES, save_pictures
from encoder_ablations.experiments.runs.preparation import RunData
from encoder_ablations.experiments.runs.record import PER_IMAGE, RunRecord
from encoder_ablations.experiments.runs.record_builder import finished_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.heads.mask2former_official import (
    OfficialMask2FormerHead,
    spec_of,
)
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.environment import describe_environment


class ConfusionEvaluator(DatasetEvaluator):
    """Confusion matrices over all processes, and the first few predictions."""

    def __init__(self, dataset: str, classes: int) -> None:
        self.masks = {
            entry["file_name"]: Path(entry["sem_seg_file_name"])
            for entry in DatasetCatalog.get(dataset)
        }
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.confusion = ConfusionMatrix.empty(self.classes)
        self.images: list[ImageCounts] = []
        self.pictures: list[Picture] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Count the pixels of a batch."""
        for entry, output in zip(inputs, outputs, strict=True):
            prediction = output["sem_seg"].argmax(dim=0).cpu()
            truth = torch.from_numpy(read_ids(self.masks[entry["file_name"]]).astype(np.int64))
            counts = count_image(entry["image_id"], prediction, truth, self.classes)
            self.confusion += counts
            self.images.append(ImageCounts.of(entry["image_id"], counts))
            if len(self.pictures) < PICTURES:
                self.pictures.append(Picture(entry["image_id"], entry["image"], truth, prediction))

    def evaluate(self) -> None:
        """Afterwards ``confusion`` and ``images`` are those of all processes, in each of them."""
        total = ConfusionMatrix.empty(self.classes)
        for part in comm.all_gather(self.confusion.counts):
            total += ConfusionMatrix(part)
        self.confusion = total
        self.images = [image for part in comm.all_gather(self.images) for image in part]


def record_run(
    trainer: Any, cfg: CfgNode, segmenter: Segmenter, spec: RunSpec, data: RunData, started: str
) -> RunRecord:
    """Evaluate the best checkpoint on the split that is reported, and measure the cost.

    All processes take part.

    Args:
        trainer: after training.
        cfg: its configuration.
        segmenter: the trainer's model under our contract, made before training
            (:func:`as_segmenter`).
        spec: of the run.
        data: of the run.
        started: when the run began.
    """
    recorder, model = trainer.recorder, unwrapped(trainer.model)
    assert recorder is not None
    if recorder.best.exists():
        load_model(model, load_checkpoint(recorder.best, spec.run_id)["model"], recorder.best)
    comm.synchronize()
    name = f"{spec.dataset.name}_{data.record.report_split}"
    evaluator = ConfusionEvaluator(name, len(spec.dataset.classes))
    with tensor_float32(False):
        inference_on_dataset(model, trainer.build_test_loader(cfg, name), evaluator)
    if comm.is_main_process():
        save_pictures(
            evaluator.pictures, Path(cfg.OUTPUT_DIR), len(spec.dataset.classes), spec.run_id
        )
        images = PerImage.of(evaluator.images, len(spec.dataset.classes))
        save_per_image(images, Path(cfg.OUTPUT_DIR) / PER_IMAGE, spec.run_id)
    result = Evaluation(evaluator.confusion, evaluator.images, evaluator.pictures)
    environment = describe_environment(cfg.MODEL.DEVICE)
    further = [*_of_detectron2(recorder), *data.warnings]
    return finished_record(
        spec,
        data.record,
        segmenter,
        recorder.progress,
        result,
        started,
        environment,
        further,
    )


def as_segmenter(trainer: Any, cfg: CfgNode) -> Segmenter:
    """Return the modules of the trainer's ``MaskFormer`` on our encoder, under our contract.

    From now on its head knows what computes deformable attention; later its cost is measured.
    """
    model: Any = unwrapped(trainer.model)
    head = OfficialMask2FormerHead(model.sem_seg_head, model.criterion, spec_of(cfg))
    return Segmenter(model.backbone.encoder, head).to(model.device)


def _of_detectron2(recorder: Recorder) -> list[str]:
    found = [
        "Trained by Detectron2's loop on the official augmentation: other samples than runs of "
        "this project's own loop saw, and biases of the head decay."
    ]
    if recorder.resumed_at:
        steps = ", ".join(map(str, recorder.resumed_at))
        found.append(
            f"Went on from a checkpoint after step {steps}: Detectron2 does not restore the "
            "order of the data, so the numbers are not those of an undisturbed run."
        )
    return found
