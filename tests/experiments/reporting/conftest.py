"""Synthetic records: the same classes, ids and files as real runs, with numbers that a test
chooses.
"""

import hashlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost.model_cost import Latency
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.fingerprint import save_files
from encoder_ablations.experiments.runs.metrics_record import metrics_record
from encoder_ablations.experiments.runs.record import RunRecord, save_record
from encoder_ablations.experiments.runs.record_parts import (
    ConvergenceRecord,
    CostRecord,
    CurvesRecord,
    DataRecord,
    ErrorRecord,
)
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.seeding import numpy_stream

CLASSES = ("background", "crater", "boulder")
STEPS = 400


class RecordFactory:
    """Makes records and writes study folders."""

    def __init__(self, folder):
        self.folder = folder

    def record(self, encoder="vit-a", miou=0.7, fraction=1.0, seed=0, **options):
        """A finished run.

        Options: weights, label, freeze, adapt, trainable, dataset, root, splits, classes, steps,
        gflops, latency, report_split, pictures, disclosures, sha, environment.
        """
        spec = self.spec(encoder, fraction, seed, **options)
        classes = spec.dataset.classes
        spread = np.linspace(0.08, -0.08, len(classes)) if len(classes) > 1 else np.zeros(1)
        matrix = confusion(miou + spread)
        return RunRecord(
            run_id=spec.run_id,
            status="finished",
            spec=spec,
            started="2025-03-01T10:00:00+00:00",
            finished="2025-03-01T10:20:00+00:00",
            environment=options.get("environment", self.environment()),
            data=self.data(spec, options),
            metrics=metrics_record(ConfusionMatrix(matrix), classes),
            confusion_matrix=matrix.tolist(),
            curves=self.curves(miou, seed, spec.recipe.steps),
            convergence=ConvergenceRecord(
                steps=spec.recipe.steps,
                best_step=360,
                best_val_score=miou,
                step_to_95_percent=200 + 40 * seed,
                epochs_to_95_percent=8.5,
                epochs=17.0,
            ),
            cost=self.cost(
                options.get("gflops", 20.0),
                options.get("latency", 30.0),
                options.get("train_seconds", 200.0),
                options.get("trainable", 1_200_000),
            ),
            encoder={"width": 192, "depth": 12, "patch_size": 16},
            pictures=options.get("pictures", []),
            disclosures=options.get("disclosures", []),
        )

    def counted(self, record, matrix):
        """The record of a finished run as if its confusion matrix were ``matrix``."""
        scores = metrics_record(ConfusionMatrix(np.array(matrix)), record.spec.dataset.classes)
        return record.model_copy(
            update={"confusion_matrix": np.array(matrix).tolist(), "metrics": scores}
        )

    def failure(
        self, encoder="vit-a", fraction=1.0, seed=0, message="CUDA out of memory", **options
    ):
        spec = self.spec(encoder, fraction, seed, **options)
        return RunRecord(
            run_id=spec.run_id,
            status="failed",
            spec=spec,
            started="2025-03-01T10:00:00+00:00",
            finished="2025-03-01T10:00:30+00:00",
            environment=self.environment(),
            error=ErrorRecord(
                type="RuntimeError",
                message=message,
                traceback=f"Traceback …\nRuntimeError: {message}",
            ),
        )

    def spec(self, encoder, fraction, seed, **options):
        dataset = options.get("dataset", "mars")
        classes = options.get("classes", CLASSES)
        return RunSpec(
            encoder=EncoderSpec(
                name=encoder,
                weights=options.get("weights", "pretrained"),
                label=options.get("label"),
                freeze=options.get("freeze", "none"),
                adapt=options.get("adapt"),
            ),
            segmenter=LinearSpec(name="linear"),
            dataset=DatasetSpec(
                name=dataset,
                root=options.get("root", dataset),
                classes=classes,
                splits=options.get("splits", {"train": "train", "val": "val"}),
            ),
            fraction=fraction,
            seed=seed,
            recipe=Recipe(
                steps=options.get("steps", STEPS),
                evaluate_every=40,
                privacy=options.get("privacy"),
            ),
            tuning=options.get("tuning"),
        )

    def data(self, spec, options):
        print_of_ids = hashlib.sha256(f"{spec.seed} {spec.fraction}".encode()).hexdigest()
        split = options.get("report_split", "val")
        return DataRecord(
            train_ids_sha256=options.get("sha", print_of_ids),
            train_masks_sha256=print_of_ids,
            n_train=max(1, round(200 * spec.fraction)),
            n_val=60,
            n_test=40 if split == "test" else None,
            fraction=spec.fraction,
            class_names=list(spec.dataset.classes),
            class_pixels=[1000] * len(spec.dataset.classes),
            colors=list(palette(len(spec.dataset.classes))),
            report_split=split,
            dataset_sha256=hashlib.sha256(spec.dataset.name.encode()).hexdigest(),
        )

    def curves(self, miou, seed, steps):
        noise = numpy_stream(seed, "curves", str(miou))
        loss_steps = list(range(10, steps + 1, 10))
        val_steps = list(range(40, steps + 1, 40)) or [steps]
        loss = [
            float(0.3 + 1.5 * np.exp(-4 * s / steps) + 0.05 * noise.normal()) for s in loss_steps
        ]
        val = [
            float(miou * (1 - np.exp(-6 * s / steps)) + 0.006 * noise.normal()) for s in val_steps
        ]
        return CurvesRecord(loss_steps=loss_steps, loss=loss, val_steps=val_steps, val_score=val)

    def cost(self, gflops, latency, train_seconds, trainable):
        return CostRecord(
            input_size=(512, 512),
            tokens=1024,
            parameters={"total": 86_567_656, "trainable": trainable},
            parameters_by_part={
                "encoder.body": 85_367_656,
                "encoder.neck": 1_000_000,
                "head": 200_000,
            },
            flops=round(gflops * 1e9),
            flops_by_part={"encoder.body": round(gflops * 0.8e9), "head": round(gflops * 0.2e9)},
            latency_ms=[
                Latency(
                    batch_size=1,
                    median=latency,
                    p10=latency * 0.9,
                    p90=latency * 1.2,
                    median_by_part={},
                ),
                Latency(
                    batch_size=8,
                    median=latency * 6,
                    p10=latency * 5,
                    p90=latency * 7,
                    median_by_part={},
                ),
            ],
            images_per_second=8000 / (latency * 6),
            train_seconds=train_seconds,
            peak_memory_bytes=1_300_000_000,
        )

    def environment(self):
        return {
            "versions": {
                "python": "3.11.7",
                "encoder-ablations": "0.1.0",
                "torch": "2.15.0",
                "timm": "1.0.31",
            },
            "git_revision": "2b88a7600000000000000000000000000000abcd",
            "processor": "Example CPU",
            "gpu": None,
            "threads": 2,
            "command": "ablate run mars.yaml",
        }

    def write(self, records, name="study"):
        """Writes the records, and the pictures that they name; returns the study's folder."""
        for record in records:
            folder = self.folder / name / "runs" / record.run_id
            folder.mkdir(parents=True, exist_ok=True)
            save_record(record, folder)
            if record.data is not None:
                save_files(record.run_id, record.spec.dataset, record.data.dataset_sha256, folder)
            for position, id in enumerate(record.pictures):
                self.write_pictures(folder / "pictures", id, position, record)
        return self.folder / name

    def write_pictures(self, folder, id, position, record):
        folder.mkdir(parents=True, exist_ok=True)
        image, truth = scene(position)
        shift = 3 + int(40 * (1 - record.metrics.miou))
        Image.fromarray(image).save(folder / f"{id}.image.jpg", quality=90, comment=record.run_id)
        owner = PngInfo()
        owner.add_text("run", record.run_id)
        Image.fromarray(truth).save(folder / f"{id}.truth.png", pnginfo=owner)
        prediction = np.roll(truth, shift, axis=1)
        prediction[prediction == 255] = 0
        Image.fromarray(prediction).save(folder / f"{id}.prediction.png", pnginfo=owner)


def scene(number, height=120, width=160):
    """A grey plain with craters and boulders: image H×W×3 uint8 and class ids H×W uint8, the rim
    ignored.
    """
    random = numpy_stream(number, "scene")
    rows, columns = np.mgrid[:height, :width]
    grey = 150 + 20 * np.sin(columns / 25 + number) + random.normal(0, 6, (height, width))
    truth = np.zeros((height, width), np.uint8)
    for kind, count, largest in ((1, 4, 24), (2, 9, 6)):
        for _ in range(count):
            y, x, r = (
                random.integers(0, height),
                random.integers(0, width),
                random.integers(largest // 2, largest),
            )
            inside = (rows - y) ** 2 + (columns - x) ** 2 < r**2
            truth[inside] = kind
            grey[inside] += (columns[inside] - x) * (2.5 if kind == 1 else -6)
    truth[:, :4] = 255
    image = np.stack([grey * 1.1, grey * 0.85, grey * 0.7], axis=2).clip(0, 255).astype(np.uint8)
    return image, truth


def confusion(wanted):
    """K×K counts in which class k has the IoU ``wanted[k]``, to a part in a million.

    Every pair of classes is taken for one another equally often, so that truth and prediction of a
    class are as large: its IoU is hits / (hits + 2 · misses).
    """
    count = len(wanted)
    iou = np.clip(wanted, 0, 1 - 1e-7)
    matrix = np.full((count, count), 10**9, np.int64)
    matrix[np.diag_indices(count)] = np.round(2e9 * max(count - 1, 1) * iou / (1 - iou))
    return matrix


@pytest.fixture
def factory(tmp_path):
    return RecordFactory(tmp_path)


@pytest.fixture
def realistic(factory):
    """Three encoders and a random control × three fractions × three seeds, pictures, disclosures,
    one failed run.
    """
    level = {"dinov2-base": 0.74, "clip-base": 0.69, "darknet53": 0.64}
    cost = {
        "dinov2-base": (92.1, 182.0, 912),
        "clip-base": (90.4, 176.0, 890),
        "darknet53": (31.2, 61.0, 431),
    }
    records = []
    for encoder, weights in [*((e, "pretrained") for e in level), ("dinov2-base", "random")]:
        for fraction, loss in ((0.05, 0.22), (0.25, 0.1), (1.0, 0.0)):
            for seed in range(3):
                lost = (loss + 0.21 if weights == "random" else loss) * (
                    1.3 if encoder == "darknet53" else 1
                )
                noise = 0.012 * float(numpy_stream(seed, encoder, weights, str(fraction)).normal())
                gflops, latency, seconds = cost[encoder]
                records.append(
                    factory.record(
                        encoder,
                        level[encoder] - lost + noise,
                        fraction,
                        seed,
                        weights=weights,
                        gflops=gflops,
                        latency=latency + seed,
                        train_seconds=seconds,
                        pictures=["plain_001", "plain_002", "plain_003"] if seed == 0 else [],
                        disclosures=["Selection and report share the validation split."]
                        + (
                            ["Weights were read from a local file."]
                            if encoder == "clip-base"
                            else []
                        ),
                    )
                )
    records[-1] = factory.failure("dinov2-base", 1.0, 2, weights="random")
    return factory.write(records, "mars-craters")
