"""A study of two finished runs, small and quick."""

import pytest

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.spec import SegmenterSpec


@pytest.fixture(scope="session")
def study(terrain, tmp_path_factory):
    """The folder of a study of two encoders that differ in their label, with one seed."""
    folder = tmp_path_factory.mktemp("worst") / "study"
    recipe = {"steps": 2, "batch_size": 2, "evaluate_every": 2}
    recipe["augmentation"] = {"crop": [64, 64]}
    for number, label in enumerate(("dark", "darker")):
        channels = (32, 64)[number]
        spec = RunSpec(
            encoder=EncoderSpec(
                name="test_resnet", weights="random", channels=channels, label=label
            ),
            segmenter=SegmenterSpec(name="linear"),
            dataset=terrain,
            seed=0,
            recipe=Recipe.model_validate(recipe),
        )
        record = execute_run(spec, folder / "runs" / spec.run_id, Execution("cpu"))
        assert record.error is None
    return folder
