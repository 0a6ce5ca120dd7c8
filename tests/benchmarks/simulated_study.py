"""Records of a study that never ran: what reports of large studies are measured and looked at
with."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost.model_cost import Latency
from encoder_ablations.engine.evaluation.per_image import PerImage, save_per_image
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.fingerprint import save_files
from encoder_ablations.experiments.runs.metrics_record import metrics_record
from encoder_ablations.experiments.runs.record import PER_IMAGE, RunRecord, save_record
from encoder_ablations.experiments.runs.record_parts import (
    ConvergenceRecord,
    CostRecord,
    CurvesRecord,
    DataRecord,
)
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.seeding import numpy_stream

CLASSES = 19
IMAGES = 200
PRESENT = 6
"""Classes in one image."""
STEPS = 4000
FRACTIONS = (1.0, 0.1, 0.01, 0.5, 0.05, 0.25, 0.02, 0.75, 0.03, 0.15)


@dataclass(frozen=True)
class Size:
    """A full grid; every second encoder is the random control of the one before it."""

    encoders: int
    fractions: int
    seeds: int
    heads: int = 1
    datasets: int = 1


SIZES = {1000: Size(20, 5, 10), 10_000: Size(25, 10, 10, 2, 2)}


def write_simulated_study(folder: Path, size: Size) -> None:
    """Writes ``folder/runs/*`` with records and per-image counts; the same ones for the same
    size."""
    both = [load_segmenter("linear"), load_segmenter("mask2former")]
    for number, head in product(range(size.datasets), both[: size.heads]):
        test = _test_images(number)
        dataset = _dataset(number)
        for place, fraction, seed in product(
            range(size.encoders), FRACTIONS[: size.fractions], range(size.seeds)
        ):
            spec = RunSpec(
                encoder=_encoder(place),
                segmenter=head,
                dataset=dataset,
                fraction=fraction,
                seed=seed,
                recipe=Recipe(steps=STEPS, evaluate_every=STEPS // 10),
            )
            level = (
                2.2
                - 0.12 * (place // 2)
                - (0.9 if place % 2 else 0.0) * fraction**-0.15
                + 0.2 * np.log10(fraction)
            )
            _write_run(folder, spec, level - 0.2 * number - 0.3 * (head.name == "linear"), test)


def _encoder(place: int) -> EncoderSpec:
    weights = "random" if place % 2 else "pretrained"
    label = f"ViT {place // 2}{' (random)' if place % 2 else ''}"
    return EncoderSpec(
        name="vit_tiny_patch16_224", weights=weights, channels=64 + 32 * (place // 2), label=label
    )


def _dataset(number: int) -> DatasetSpec:
    classes = tuple(f"class {n}" for n in range(CLASSES))
    splits = {"train": "train", "val": "val", "test": "test"}
    return DatasetSpec(
        name=f"simulated{number or ''}", root="simulated", classes=classes, splits=splits
    )


class TestImages(NamedTuple):
    """What the test images show.

    Attributes:
        present: N×PRESENT ids of the classes in each image, ascending.
        sizes: their pixels.
        ease: how easy each image is, (N,).
    """

    present: np.ndarray
    sizes: np.ndarray
    ease: np.ndarray


def _test_images(number: int) -> TestImages:
    random = numpy_stream(number, "simulated", "images")
    sizes = [random.dirichlet(np.full(PRESENT, 1.5)) * 262_144 for _ in range(IMAGES)]
    present, ease = [], []
    for _ in range(IMAGES):
        present.append(np.sort(random.choice(CLASSES, PRESENT, replace=False)))
        ease.append(random.normal(0, 0.6))
    return TestImages(np.array(present), np.round(sizes).astype(np.int64), np.array(ease))


def _counts(random: np.random.Generator, level: float, test: TestImages) -> PerImage:
    """Return the counts of every image; what is not found is taken for the class before."""
    noise = random.normal(0, 0.1, (IMAGES, CLASSES)) + random.normal(0, 0.04)
    logits = level + test.ease[:, None] + np.take_along_axis(noise, test.present, 1)
    found = 1 / (1 + np.exp(-(logits - 0.05 * test.present)))
    hits = np.round(test.sizes * found).astype(np.int64)
    others = np.roll(test.present, 1, axis=1)
    cells = test.present[:, [*range(PRESENT)] * 2] * CLASSES + np.hstack([test.present, others])
    counts = np.hstack([hits, test.sizes - hits])
    # cells of an image are ascending, and those without a pixel are left out
    order = np.argsort(cells, axis=1)
    cells, counts = (np.take_along_axis(each, order, 1) for each in (cells, counts))
    filled = counts > 0
    starts = np.cumsum([0, *filled.sum(axis=1)])
    ids = [f"image_{number:04}" for number in range(IMAGES)]
    return PerImage(ids, starts, cells[filled].astype(np.int32), counts[filled], CLASSES)


def _write_run(folder: Path, spec: RunSpec, level: float, test: TestImages) -> None:
    run_id = spec.run_id
    random = numpy_stream(spec.seed, "simulated", run_id)
    images = _counts(random, level, test)
    total = images.total()
    scores = metrics_record(total, spec.dataset.classes)
    target = folder / "runs" / run_id
    save_per_image(images, target / PER_IMAGE, run_id)
    miou, trained = scores.miou or 0.0, max(1, round(2000 * spec.fraction))
    data = _data(spec, trained)
    epochs = STEPS * spec.recipe.batch_size / trained
    rate = float(random.uniform(4, 6)) * (0.6 if spec.encoder.weights == "random" else 1.0)
    record = RunRecord(
        run_id=run_id,
        status="finished",
        spec=spec,
        started="2025-03-01T10:00:00+00:00",
        finished="2025-03-01T11:00:00+00:00",
        environment={
            "processor": "simulated",
            "versions": {"python": "3.12"},
            "command": "make bench ARGS=report",
        },
        data=data,
        metrics=scores,
        confusion_matrix=total.counts.tolist(),
        curves=_curves(random, miou, rate),
        convergence=ConvergenceRecord(
            steps=STEPS,
            best_step=STEPS,
            best_val_score=miou,
            step_to_95_percent=round(STEPS * 3 / rate),
            epochs_to_95_percent=epochs * 3 / rate,
            epochs=epochs,
        ),
        cost=_cost(spec),
        encoder={"width": 192, "depth": 12, "patch_size": 16},
        disclosures=["Simulated: no network was trained."],
    )
    save_record(record, target)
    save_files(run_id, spec.dataset, data.dataset_sha256, target)


def _data(spec: RunSpec, trained: int) -> DataRecord:
    ids = fingerprint([str(spec.seed), str(spec.fraction), spec.dataset.name])
    return DataRecord(
        train_ids_sha256=ids,
        train_masks_sha256=ids,
        n_train=trained,
        n_val=100,
        n_test=IMAGES,
        fraction=spec.fraction,
        class_names=list(spec.dataset.classes),
        class_pixels=[1000] * CLASSES,
        colors=list(palette(CLASSES)),
        report_split="test",
        dataset_sha256=fingerprint([spec.dataset.name]),
    )


def _curves(random: np.random.Generator, miou: float, rate: float) -> CurvesRecord:
    loss_steps, val_steps = (
        list(range(every, STEPS + 1, every)) for every in (STEPS // 100, STEPS // 10)
    )
    loss = [0.2 + 2 * np.exp(-rate * step / STEPS) + 0.03 * random.normal() for step in loss_steps]
    val: list[float | None] = [
        float(miou * (1 - np.exp(-rate * step / STEPS))) for step in val_steps
    ]
    return CurvesRecord(
        loss_steps=loss_steps, loss=[float(x) for x in loss], val_steps=val_steps, val_score=val
    )


def _cost(spec: RunSpec) -> CostRecord:
    width = spec.encoder.channels // 32 - 1
    gflops = 20.0 + 60 / width
    return CostRecord(
        input_size=(512, 512),
        tokens=1024,
        parameters={"total": round(gflops * 1e6), "trainable": 10**6},
        parameters_by_part={"encoder.body": round(gflops * 1e6) - 10**6, "head": 10**6},
        flops=round(gflops * 1e9),
        flops_by_part={"encoder.body": round(gflops * 0.9e9), "head": round(gflops * 0.1e9)},
        latency_ms=[
            Latency(
                batch_size=1, median=gflops, p10=gflops * 0.9, p90=gflops * 1.2, median_by_part={}
            )
        ],
        images_per_second=1000 / gflops,
        train_seconds=60 * gflops,
        peak_memory_bytes=round(gflops * 1e8),
    )
