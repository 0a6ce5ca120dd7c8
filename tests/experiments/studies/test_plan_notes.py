"""A dry run says of BatchNorm what the run will say."""

import pytest

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.plan_notes import notes_before_start
from encoder_ablations.experiments.zero_labels.queries import warning_of_texts
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def spec_of(terrain):
    def make(name="darknet_tiny", accumulation=1, seed=0, **encoder):
        return RunSpec(
            encoder={"name": name, "weights": "random", **encoder},
            segmenter={"name": "linear"},
            dataset=terrain,
            seed=seed,
            recipe={"batch_size": 4, "accumulation": accumulation},
        )

    return make


def test_statistics_of_frozen_bodies(spec_of):
    specs = [spec_of(freeze="body", seed=seed) for seed in (0, 1)]
    (note,) = notes_before_start(specs)
    assert "darknet_tiny-random-frozen" in note
    assert "estimated" in note
    (note,) = notes_before_start([spec_of(freeze="body", batch_norm="keep")])
    assert "variance 1" in note
    assert not notes_before_start([spec_of(), spec_of("vit_ti16", freeze="body")])


def test_models_outside_of_the_table(spec_of):
    (note,) = notes_before_start([spec_of("test_efficientnet", freeze="body")])
    assert "estimated" in note
    assert not notes_before_start([spec_of("test_vit", freeze="body")])
    assert not notes_before_start([spec_of("test_convnext", freeze="body")])


def test_a_setting_without_meaning_is_refused(spec_of):
    with pytest.raises(InputError, match="no BatchNorm"):
        notes_before_start([spec_of("vit_ti16", batch_norm="keep")])


def test_heads_whose_queries_are_a_number():
    assert warning_of_texts(SegmenterSpec(name="mask2former", queries=20)) is None


def test_micro_batches(spec_of):
    (warning,) = notes_before_start([spec_of(accumulation=2), spec_of(accumulation=2, seed=1)])
    assert warning.startswith("warning: ")
    assert "2 images each, not of the whole batch of 4" in warning
