"""A run: everything that decides its result, and the name that follows from it."""

import hashlib
import json
import re

from pydantic import Field

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import Config


class RunSpec(Config):
    """One (encoder, segmenter, dataset, fraction, seed, recipe).

    Attributes:
        fraction: share of the training images that is used, 0..1; subsets of one seed are nested.
        seed: decides the subset, the data order, the augmentation and all initial weights that are not loaded.
        study_recipe: the recipe of the study's other encoders, where this one's differs; reports disclose it.
    """

    encoder: EncoderSpec
    segmenter: SegmenterSpec
    dataset: DatasetSpec
    fraction: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    recipe: Recipe = Recipe()
    study_recipe: Recipe | None = None

    @property
    def run_id(self) -> str:
        """Readable slug and a hash of the resolved spec: equal specs, equal ids."""
        left_out = {"study_recipe"} if self.study_recipe is None else set()
        content = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        percent = f"{self.fraction * 100:g}pct"
        words = [self.encoder.title, self.segmenter.name, self.dataset.name, percent, f"seed{self.seed}"]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", "_".join(words).replace("_", "-")).strip("-")
        return f"{slug}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"
