"""Training of a model on a user's own data, in one call."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder_ablations.data.loading.pairs import Pairs
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.from_python.images import Data, Images, read_images
from encoder_ablations.experiments.runs.batch_norm import estimate_for
from encoder_ablations.experiments.runs.folder import LAST
from encoder_ablations.experiments.runs.model import prepare_for
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.config import build, differences
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import as_json, ensure_writable, write_json
from encoder_ablations.utils.progress import Bar

SETTINGS = "training.json"
"""What the training in a folder depends on."""


def train(
    model: Segmenter,
    data: Data,
    recipe: Recipe | Mapping[str, Any],
    folder: str | Path,
    *,
    val: Pairs | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
) -> Progress:
    """Train a model in place, as a run is; return the curves of loss and validation.

    Afterwards the model has the best weights on validation and is in evaluation mode. After an
    interruption the same call goes on, with the same bits on the CPU. When the training has
    finished, it loads the weights. PyTorch's global generators are seeded at every step.

    Args:
        model: made by ``create_segmenter``.
        data: a dataset by its specification, name or YAML; or pairs (image, mask), such as a
            ``torch.utils.data.Dataset``, in the forms that
            :class:`~encoder_ablations.data.loading.pairs.PairSamples` takes.
        recipe: how to train, or its keys: ``{"steps": 2000, "batch_size": 8}``.
        folder: where checkpoints, curves and TensorBoard's events are written.
        val: pairs on which the best checkpoint is chosen; needed if ``data`` are pairs.
        seed: of order, augmentation and everything else that is random.
        device: "auto" (a GPU if PyTorch sees one), "cpu", "cuda" or "cuda:N".
        workers: processes that load images; 0 = this one.

    Returns:
        ``loss`` at ``loss_steps``, ``val_score`` (0..1) at ``val_steps``, ``best_score``, ….

    Raises:
        InputError: images, masks or settings that do not fit, or a folder of another training.
        Stopped: Ctrl-C, after the step has been finished and saved.
    """
    if not isinstance(recipe, Recipe):
        recipe = build(Recipe, recipe, "the recipe")
    images = read_images(model, data, val, recipe)
    prepare_for(model, recipe)
    chosen = images.for_recipe(recipe)
    folder = ensure_writable(folder)
    run_id = _claim(folder, _settings(model, images, recipe, seed))
    accelerator = make_accelerator(device)
    part = (chosen.train, chosen.train_indices)
    with computing(accelerator.device, recipe.precision, deterministic=False):
        if not (folder / LAST).exists():
            estimate_for(model, recipe.augmentation, seed, part, accelerator, workers)
        trainer = Trainer(model, chosen, recipe, seed, folder, accelerator, workers, run_id=run_id)
        return _run(trainer)


def _run(trainer: Trainer) -> Progress:
    """Train to the end, show how far it is, and load the best weights."""
    with Bar(total=trainer.recipe.steps, desc="training", unit="step") as bar:

        def advance(step: int, status: str) -> None:
            bar.set_postfix_str(status, refresh=False)
            bar.update(step - bar.n)

        progress = trainer.run(advance)
    best = load_checkpoint(trainer.best, trainer.run_id, progress.best_step)
    load_model(trainer.segmenter, best["model"], trainer.best)
    trainer.segmenter.eval()
    return progress


def _settings(model: Segmenter, images: Images, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return all that decides a training, but for the initial weights, as plain values."""
    parameters = model.named_parameters()
    parts = [f"{name} {tuple(each.shape)} {each.requires_grad}" for name, each in parameters]
    return {
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
        "classes": model.class_names,
        "images": images.digest,
        "model": hashlib.sha256("\n".join(parts).encode()).hexdigest(),
    }


def _claim(folder: Path, settings: dict[str, Any]) -> str:
    """Note what the training in a folder depends on; return the name of its checkpoints' run.

    Raises:
        InputError: the folder holds another training.
    """
    path = folder / SETTINGS
    text = as_json(settings)
    # through JSON, so that tuples and lists are the same
    content = json.loads(text)
    if path.exists():
        changes = differences(json.loads(path.read_text(encoding="utf-8")), content)
        if changes:
            raise InputError(
                f"{folder} holds another training ({changes[0]}). Choose another folder, or delete "
                "it."
            )
    else:
        write_json(path, content)
    return f"{folder.resolve().name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
