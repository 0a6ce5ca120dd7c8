"""The card of an exported model: what it is, how good it is, and how it was made."""

from collections.abc import Mapping, Sequence
from string import Template

import yaml

from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.experiments.exporting.exported import FILES, Exported
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.runs.metrics_record import MetricsRecord
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.utils.environment import git_revision, versions
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import as_cell, plural

CARD = Template("""---
library_name: $library
pipeline_tag: image-segmentation
tags: [semantic-segmentation]
---
# $title

Semantic segmentation of photos into $n_classes: $classes. The model is the encoder `$encoder` with
the head `$head`, trained on `$dataset`.

## Use

$use

Input are raw RGB photos, uint8, 0..255, as batch × 3 × height × width. Resizing, normalising and
padding happen inside. $size

## Scores

$scores

| class | IoU in % | Dice in % |
|---|---|---|
$per_class

They are of the run itself in float32. $class_note

## Agreement with the run

$agreement
$loss
$timing
The file $file has $megabytes MB.

## Data

$data

## Recipe

```yaml
$recipe
```

## Licence of the weights

$licence

## Limits

$limits

## How it was made

- Run: `$run`
- Trained with: $trained_with
- Exported with: $exported_with
""")

USE = {
    "onnx": """    pip install numpy pillow onnxruntime
    python example.py photo.jpg

`example.py` prints the classes' shares. `python example.py photo.jpg FOLDER` also writes a mask and
an overlay into that folder. Outputs are `labels` (batch × height × width) and, where you ask for
it, `probabilities` (batch × classes × height × width).""",
    "torch": """    model = torch.export.load("model.pt2").module()
    labels, probabilities = model(photos)

Nothing but PyTorch is needed.""",
    "hf": """    pip install encoder-ablations transformers

    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
    from encoder_ablations.segmenters.frameworks.transformers_segmenter import register

    register()
    model = AutoModelForSemanticSegmentation.from_pretrained(FOLDER)
    processor = AutoImageProcessor.from_pretrained(FOLDER)
    outputs = model(**processor(photo, return_tensors="pt"))
    (mask,) = processor.post_process_semantic_segmentation(outputs, [(photo.height, photo.width)])

The classes of the model are in the package encoder-ablations. Without it transformers cannot load
the folder.""",
}
OF_IMAGE = {
    "onnx": """
A third output, `image_probabilities` (batch × image classes), is of the classes of the whole photo.
`classes.json` names them.""",
    "torch": """
The program gives a third output, the probabilities of the whole photo's classes (batch × image
classes): `labels, probabilities, image_probabilities = model(photos)`. `classes.json` names
them.""",
    "hf": """
The run also predicts the class of the whole photo, which these files do not.""",
}
"""What is added for a model with an image head."""
LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "hf": "transformers"}


def _use(run: TrainedRun, exported: Exported) -> str:
    """Return how the files are used."""
    text = USE[exported.spec.format]
    if run.record.image_classes is not None:
        text += "\n" + OF_IMAGE[exported.spec.format]
    return text


def model_card(run: TrainedRun, exported: Exported) -> str:
    """Return the card as Markdown."""
    record = run.record
    spec = record.spec
    content = {
        "library": LIBRARIES[exported.spec.format],
        "title": record.run_id,
        "n_classes": plural(len(spec.dataset.classes), "class"),
        "classes": ", ".join(spec.dataset.classes),
        "encoder": spec.encoder.title,
        "head": spec.segmenter.name,
        "dataset": spec.dataset.name,
        "use": _use(run, exported),
        "size": _size(exported),
        "scores": _scores(run),
        "per_class": _per_class(run),
        "class_note": "– means that the class was neither there nor predicted.",
        "agreement": exported.agreement,
        "loss": _loss(exported),
        "timing": exported.timing,
        "file": f"`{FILES[exported.spec.format]}` ({exported.spec.precision})",
        "megabytes": f"{exported.bytes / 1e6:.1f}",
        "data": _data(run),
        "recipe": yaml.safe_dump(spec.recipe.model_dump(mode="json"), sort_keys=False).strip(),
        "licence": _licence(run),
        "limits": _limits(run),
        "run": record.run_id,
        "trained_with": _versions(
            record.environment["versions"], record.environment["git_revision"]
        ),
        "exported_with": _versions(versions(), git_revision()),
    }
    return CARD.substitute(content)


def _size(exported: Exported) -> str:
    size = exported.sized.size
    if size is None:
        return "Photos may have any size, and several of one size may be given together."
    return (
        f"Photos must be {size[0]} × {size[1]} pixels (height × width): "
        f"{exported.sized.reason}. Several may be given together."
    )


def _scores(run: TrainedRun) -> str:
    """Return the run's score, and that of all seeds where its study has several."""
    lines = [f"- This run: {run.record.score}."]
    group = _group(run)
    if group is not None and group.score.n > 1:
        score = group.score
        kind = ""
        if score.spread != "range":  # which the numbers name themselves
            kind = f" ({score.spread})"
        seeds = plural(score.n, "seed")
        lines.append(f"- {seeds} of the same settings: mIoU in % {score.text()}{kind}.")
    return "\n".join(lines)


def _group(run: TrainedRun) -> RunGroup | None:
    """Return the runs that differ from this one in the seed alone; None outside of a study."""
    if run.folder.absolute().parent.name != "runs":
        return None
    try:
        study = collect(run.folder.absolute().parent.parent)
    except InputError:
        return None
    for group in study.groups:
        if run.record.run_id in [each.run_id for each in group.runs]:
            return group
    return None


def _per_class(run: TrainedRun) -> str:
    metrics = run.record.metrics
    assert isinstance(metrics, MetricsRecord)
    return "\n".join(
        f"| {as_cell(name)} | {_percent(metrics.per_class_iou[name])} "
        f"| {_percent(metrics.per_class_dice[name])} |"
        for name in run.record.spec.dataset.classes
    )


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}"


def _loss(exported: Exported) -> str:
    """Return what the export costs in mIoU on the images of the comparison."""
    compared = exported.comparison
    if compared.miou is None or compared.exported_miou is None:
        return "Those images have no masks, so their mIoU is not known."
    return (
        f"On those images the mIoU is {100 * compared.exported_miou:.2f} %, and "
        f"{100 * compared.miou:.2f} % in PyTorch."
    )


def _data(run: TrainedRun) -> str:
    data = run.record.data
    assert data is not None
    test = "no test images"
    if data.n_test is not None:
        test = plural(data.n_test, "test image")
    return (
        f"`{run.record.spec.dataset.name}`: {plural(data.n_train, 'training image')} "
        f"({100 * data.fraction:g} % of those that there are), "
        f"{plural(data.n_val, 'validation image')}, {test}. "
        f"The scores above are of the {data.report_split} split."
    )


def _licence(run: TrainedRun) -> str:
    """Return what is known of the licence of the weights that training began with."""
    encoder = run.record.spec.encoder
    if encoder.weights == "random":
        return "Training began with random weights, so no pretrained weights' licence applies."
    facts = read_facts().get(encoder.name)
    if encoder.weights != "pretrained" or facts is None or facts.licence is None:
        return (
            f"Training began with the weights `{encoder.weights}` of `{encoder.name}`, whose "
            "licence is not known here. Ask their source before you use or publish the model."
        )
    return (
        f"Training began with the pretrained weights of `{encoder.name}`, whose licence is "
        f"`{facts.licence}`. It may also bind what is made of them. So may the dataset's."
    )


def _limits(run: TrainedRun) -> str:
    """Return what a user must not expect, one line each."""
    lines = [
        "It knows only the classes above. Every pixel gets one of them, also what is none.",
        f"The scores hold for images like those of `{run.record.spec.dataset.name}`. On others it "
        "may be far worse, and its probabilities do not say so reliably.",
        *run.record.disclosures,
    ]
    return _bullets(lines)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _versions(packages: Mapping[str, str], revision: str | None) -> str:
    """Return the versions of what computed it, in one line."""
    names = ("encoder-ablations", "python", "torch", "timm", "transformers")
    found = [f"{name} {packages[name]}" for name in names if name in packages]
    if revision is not None:
        found.insert(0, f"revision {revision}")
    return ", ".join(found)
