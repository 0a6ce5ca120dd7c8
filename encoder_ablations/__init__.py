"""The public names of the package.

    import encoder_ablations as ea

    encoder = ea.create_encoder("dinov2_b14", weights="random")
    model = ea.create_segmenter("linear", encoder, classes=3)
    model(images)  # B×3×H×W, RGB 0..255, to scores B×3×H×W

Each name is imported when it is first used, so that importing the package is quick. What needs an
optional package is imported from its own module: ``encoder_ablations.data.detectron2`` and
``encoder_ablations.encoders.frameworks.detectron2`` register datasets and encoders with Detectron2;
``encoder_ablations.encoders.frameworks.transformers_backbone`` registers encoders with
transformers.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder_ablations.data.datasets.spec import DatasetSpec
    from encoder_ablations.data.references import load_dataset
    from encoder_ablations.data.synthetic.terrain import generate_terrain
    from encoder_ablations.encoders.base import Encoder
    from encoder_ablations.encoders.build import build_encoder
    from encoder_ablations.encoders.creation import create_encoder
    from encoder_ablations.encoders.listing import list_encoders
    from encoder_ablations.encoders.references import load_encoder
    from encoder_ablations.encoders.spec import EncoderSpec
    from encoder_ablations.encoders.text.creation import encode_texts
    from encoder_ablations.encoders.text.vocabulary import load_vocabulary
    from encoder_ablations.engine.recipe import Recipe
    from encoder_ablations.experiments.from_python.finished_runs import load_run
    from encoder_ablations.experiments.from_python.finished_study import load_study
    from encoder_ablations.experiments.from_python.training import train
    from encoder_ablations.experiments.runs.record import RunRecord, load_record
    from encoder_ablations.experiments.runs.spec import RunSpec
    from encoder_ablations.experiments.studies.study import StudySpec, load_study_spec, plan
    from encoder_ablations.segmenters.base import Segmenter
    from encoder_ablations.segmenters.build import build_segmenter
    from encoder_ablations.segmenters.creation import create_segmenter
    from encoder_ablations.segmenters.references import load_segmenter
    from encoder_ablations.utils.errors import InputError

__version__ = "0.1.0"

__all__ = [
    "DatasetSpec",
    "Encoder",
    "EncoderSpec",
    "InputError",
    "Recipe",
    "RunRecord",
    "RunSpec",
    "Segmenter",
    "StudySpec",
    "build_encoder",
    "build_segmenter",
    "create_encoder",
    "create_segmenter",
    "encode_texts",
    "generate_terrain",
    "list_encoders",
    "load_dataset",
    "load_encoder",
    "load_record",
    "load_run",
    "load_segmenter",
    "load_study",
    "load_study_spec",
    "load_vocabulary",
    "plan",
    "train",
]

_MODULES = {
    "DatasetSpec": "encoder_ablations.data.datasets.spec",
    "Encoder": "encoder_ablations.encoders.base",
    "EncoderSpec": "encoder_ablations.encoders.spec",
    "InputError": "encoder_ablations.utils.errors",
    "Recipe": "encoder_ablations.engine.recipe",
    "RunRecord": "encoder_ablations.experiments.runs.record",
    "RunSpec": "encoder_ablations.experiments.runs.spec",
    "Segmenter": "encoder_ablations.segmenters.base",
    "StudySpec": "encoder_ablations.experiments.studies.study",
    "build_encoder": "encoder_ablations.encoders.build",
    "build_segmenter": "encoder_ablations.segmenters.build",
    "create_encoder": "encoder_ablations.encoders.creation",
    "create_segmenter": "encoder_ablations.segmenters.creation",
    "encode_texts": "encoder_ablations.encoders.text.creation",
    "generate_terrain": "encoder_ablations.data.synthetic.terrain",
    "list_encoders": "encoder_ablations.encoders.listing",
    "load_dataset": "encoder_ablations.data.references",
    "load_encoder": "encoder_ablations.encoders.references",
    "load_record": "encoder_ablations.experiments.runs.record",
    "load_run": "encoder_ablations.experiments.from_python.finished_runs",
    "load_segmenter": "encoder_ablations.segmenters.references",
    "load_study": "encoder_ablations.experiments.from_python.finished_study",
    "load_study_spec": "encoder_ablations.experiments.studies.study",
    "load_vocabulary": "encoder_ablations.encoders.text.vocabulary",
    "plan": "encoder_ablations.experiments.studies.study",
    "train": "encoder_ablations.experiments.from_python.training",
}
"""Where each public name is defined; a test compares it with the imports above and ``__all__``."""

# An installation has the folders within this one; a clone has them beside it, and its root may come
# first on sys.path.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "utils").is_dir():
    __path__.append(str(_HERE.parent))


if not TYPE_CHECKING:  # type checkers know the names by the imports above, and report any other

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, also those that have not been used yet."""
    return sorted({*globals(), *__all__})
