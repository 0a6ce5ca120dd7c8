"""Where BatchNorm statistics come from follows from the weights and from what is frozen."""

import pytest

from encoder_ablations.encoders.batch_norm import sentence_about, statistics_of
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError


def spec(freeze, weights="random", batch_norm=None):
    return EncoderSpec(name="darknet_tiny", weights=weights, freeze=freeze, batch_norm=batch_norm)


@pytest.mark.parametrize(
    ("freeze", "weights", "expected"),
    [
        ("none", "random", "learn"),
        ("none", "file.pth", "learn"),
        ("all_but_norms", "random", "learn"),
        ("body", "random", "estimate"),
        (2, "random", "estimate"),
        ("body", "pretrained", "keep"),
        ("body", "file.pth", "keep"),
        (1, "pretrained", "keep"),
    ],
)
def test_defaults(freeze, weights, expected):
    assert statistics_of(spec(freeze, weights), True) == expected
    assert statistics_of(spec(freeze, weights), False) is None


@pytest.mark.parametrize(
    ("freeze", "setting", "words"),
    [
        ("body", "learn", "Allowed: estimate, keep"),
        ("none", "estimate", "Allowed: learn"),
        ("none", "keep", "Allowed: learn"),
        ("all_but_norms", "keep", "Allowed: learn"),
    ],
)
def test_a_setting_without_meaning_is_refused(freeze, setting, words):
    with pytest.raises(InputError, match=words):
        build_encoder(spec(freeze, "random", setting))


@pytest.mark.parametrize("setting", ["estimate", "keep", "learn"])
def test_a_body_without_batch_norm_has_no_such_setting(setting):
    vit = {"name": "test_vit", "weights": "random", "freeze": "body"}
    with pytest.raises(InputError, match="no BatchNorm"):
        build_encoder(EncoderSpec(**vit, batch_norm=setting))
    assert build_encoder(EncoderSpec(**vit)).batch_norm is None


def test_what_was_chosen_is_kept_and_named():
    assert build_encoder(spec("body")).batch_norm == "estimate"
    assert build_encoder(spec("body", batch_norm="keep")).batch_norm == "keep"
    titles = {spec("body", batch_norm=each).title for each in (None, "keep", "estimate")}
    assert len(titles) == 3


def test_only_what_is_not_usual_is_disclosed():
    assert "estimated" in sentence_about("estimate", "random")
    assert "copies" in sentence_about("keep", "random")
    assert sentence_about("keep", "pretrained") is None
    assert sentence_about("learn", "random") is None


def test_the_table_says_which_bodies_have_batch_norm():
    facts = read_facts()
    assert facts["darknet53"].batch_norm
    assert not facts["dinov2_b14"].batch_norm
