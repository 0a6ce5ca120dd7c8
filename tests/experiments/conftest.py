"""Tiny studies, and the command line in processes of its own that can be killed."""

import io
import json
from functools import partial

import pytest
import yaml
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from warm_processes import start_ablate

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost import measure, regions
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.reporting.figures import drawing
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.spec import SegmenterSpec

ENCODERS = [
    {"name": "test_resnet", "weights": "random", "channels": 32, "label": "dark"},
    {"name": "test_vit", "weights": "random", "channels": 32, "label": "vit"},
]
RECIPE = {
    "steps": 4,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "schedule": {"warmup_steps": 1},
}
COUNTS = (
    "status",
    "spec",
    "data",
    "metrics",
    "confusion_matrix",
    "curves",
    "convergence",
    "disclosures",
    "pictures",
)


class Studies:
    """Writes a study of tiny runs with a linear head into the current folder, and starts the
    command on it."""

    def __init__(self, dataset):
        self.dataset = dataset.model_dump(mode="json")

    def write(self, steps=4, **changes):
        study = {
            "name": "tiny",
            "encoders": ENCODERS,
            "segmenters": ["linear"],
            "datasets": [self.dataset],
        }
        study |= {"fractions": [1.0], "seeds": [0], "recipe": RECIPE | {"steps": steps}} | changes
        with open("tiny.yaml", "w") as file:
            yaml.safe_dump(study, file)
        return "tiny.yaml"

    def start(self, *arguments):
        """``ablate`` in a session, and so a process group, of its own."""
        return start_ablate(*arguments)

    def results(self, folder):
        """Run id -> what must not depend on how often and where a run was interrupted."""
        found = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
        assert len({record["run_id"] for record in found}) == len(found)
        return {record["run_id"]: {key: record[key] for key in COUNTS} for record in found}


@pytest.fixture(scope="session", autouse=True)
def _quick_latencies():
    """Runs would measure how long a forward pass takes for two seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(regions.measure_cost, seconds=0.0)
        patch.setattr(regions, "measure_cost", quick)
        patch.setattr(measure, "WARM_UP", 0)
        patch.setattr(measure, "LEAST_PASSES", 2)
        yield


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Each study ends with a report, and its figures would take a fifth of the time of all tests.

    Tests of reporting, and those marked ``figures``, get them as users do.
    """
    if "reporting" in request.path.parts or request.node.get_closest_marker("figures"):
        return
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "png")
    blank = {"png": buffer.getvalue(), "pdf": b"%PDF-1.4", "svg": b"<svg></svg>"}
    monkeypatch.setattr(drawing, "_render", lambda figure, kind, **options: blank[kind])
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)


@pytest.fixture
def studies(tmp_path, terrain, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Studies(terrain)


@pytest.fixture(scope="session")
def make_spec(terrain):
    """make_spec(seed, classes=None) -> RunSpec of two steps on the terrain."""

    def make(seed, classes=None):
        data = terrain
        if classes is not None:
            data = terrain.model_copy(update={"classes": classes})
        recipe = {"steps": 2, "batch_size": 2, "evaluate_every": 2}
        recipe["augmentation"] = {"crop": [64, 64], "short_side": 48}
        return RunSpec(
            encoder=EncoderSpec(name="test_resnet", weights="random", channels=32),
            segmenter=SegmenterSpec(name="linear"),
            dataset=data,
            seed=seed,
            recipe=Recipe.model_validate(recipe),
        )

    return make


@pytest.fixture(scope="session")
def study(make_spec, tmp_path_factory):
    """The folder of a study of two finished runs of two steps."""
    folder = tmp_path_factory.mktemp("outputs") / "study"
    for seed in (0, 1):
        spec = make_spec(seed)
        execute_run(spec, folder / "runs" / spec.run_id, Execution("cpu"))
    return folder
