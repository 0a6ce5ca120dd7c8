"""A study of two finished runs, small and quick; each test module has a copy of its own."""

import shutil

import pytest

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.spec import SegmenterSpec


@pytest.fixture(scope="session")
def make_spec(terrain):
    """make_spec(seed, **update of the dataset) -> RunSpec of two steps on the terrain."""

    def make(seed, **update):
        recipe = {"steps": 2, "batch_size": 2, "evaluate_every": 2}
        recipe["augmentation"] = {"crop": [64, 64], "short_side": 48}
        return RunSpec(
            encoder=EncoderSpec(name="test_resnet", weights="random", channels=32),
            segmenter=SegmenterSpec(name="linear"),
            dataset=terrain.model_copy(update=update),
            seed=seed,
            recipe=Recipe.model_validate(recipe),
        )

    return make


@pytest.fixture(scope="session")
def trained_study(make_spec, tmp_path_factory):
    """The folder of the study, which no test changes."""
    folder = tmp_path_factory.mktemp("trained") / "study"
    for seed in (0, 1):
        spec = make_spec(seed)
        execute_run(spec, folder / "runs" / spec.run_id, Execution("cpu"))
    return folder


@pytest.fixture(scope="module")
def study(trained_study, tmp_path_factory):
    """A copy of the study."""
    return shutil.copytree(trained_study, tmp_path_factory.mktemp("copy") / "study")
