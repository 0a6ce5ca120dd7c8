"""A folder of transformers, computed as its users do."""

from pathlib import Path

import numpy as np
import torch

from encoder_ablations.engine.export.runner import Outputs, Runner
from encoder_ablations.segmenters.frameworks.transformers_segmenter import register


def load_folder(folder: Path) -> Runner:
    """Return what computes photos by the model in a folder."""
    from transformers import AutoModelForSemanticSegmentation

    register()
    model = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()

    def run(photos: np.ndarray) -> Outputs:
        with torch.inference_mode():
            logits = model(torch.from_numpy(photos)).logits
        return Outputs(logits.argmax(dim=1).numpy(), logits.softmax(dim=1).numpy())

    return run
