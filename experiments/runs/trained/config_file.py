"""Reading the ``config.yaml`` of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.config import build, merge, read_yaml


def load_config(path: Path, changes: Mapping[str, Any]) -> RunSpec:
    """Return the run of a ``config.yaml``, with some settings changed.

    Raises:
        InputError: the file cannot be read, or does not describe a run.
    """
    content = merge(read_yaml(path), changes)
    if isinstance(content.get("segmenter"), dict):
        content["segmenter"] = load_segmenter(content["segmenter"])
    return build(RunSpec, content, path)
