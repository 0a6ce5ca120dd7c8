"""The first study of a new dataset, as ``ablate init`` writes it."""

from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import image_size
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.experiments.studies.first.sampling import Sampling
from encoder_ablations.utils.yaml_text import one_line


def study_yaml(spec: DatasetSpec, dataset: Path, sampling: Sampling) -> str:
    """Return a first study's YAML: three encoders and an untrained one.

    Args:
        spec: the dataset.
        dataset: its YAML.
        sampling: fractions and seeds that its images bear.
    """
    height, width = image_size(FolderDataset(spec, "train").pairs[0].image)
    side = min(512, max(64, min(height, width) // 32 * 32))
    return f"""# Which encoder is best on {spec.name}? Written by  ablate init; change it freely.
# Run it:  ablate run {dataset.stem}_study.yaml
# Try it:  ablate run {dataset.stem}_study.yaml recipe.steps=20 'seeds=[0]' 'fractions=[1.0]'
name: {spec.name}
encoders:
  - dinov2_b14
  - clip_b16
  - mae_b16
  - {{base: dinov2_b14, weights: random}}    # what pretraining is worth
segmenters: [mask2former]
datasets: [{one_line(str(dataset))}]
{_remarks(sampling)}fractions: {list(sampling.fractions)}
seeds: {list(sampling.seeds)}
recipe:
  steps: 5000
  batch_size: 8
  evaluate_every: 500
  augmentation: {{crop: [{side}, {side}]}}
"""


def _remarks(sampling: Sampling) -> str:
    """Return why the fractions and seeds are not the usual ones, as comments."""
    return "".join(f"# {remark}\n" for remark in sampling.remarks)
