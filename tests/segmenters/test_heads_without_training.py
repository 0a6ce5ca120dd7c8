"""Heads that do not learn by gradients: what they must define, and which encoder they get."""

import pytest
import toy_colors

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.build import build_segmenter, encoder_for
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.utils.errors import InputError

COLOR = {"name": "toy_colors:ColorHead", "queries": {"red": 0, "blue": 1}}


def test_a_head_says_how_it_learns():
    spec = load_segmenter(COLOR)
    assert head_entry(spec.name).learning == spec.learning == "nothing"
    assert head_entry("linear").learning == load_segmenter("linear").learning == "steps"
    # a saved head says it, and may be read again
    assert load_segmenter(spec.model_dump()) == spec
    with pytest.raises(InputError, match="learns"):
        load_segmenter({**COLOR, "learns": "steps"})


def test_a_head_with_fit_reads_labels_once(monkeypatch):
    monkeypatch.setattr(toy_colors.ColorHead, "fit", lambda self, examples: None, raising=False)
    assert head_entry("toy_colors:ColorHead").learning == "one pass"


def test_only_heads_that_learn_need_losses():
    entry = head_entry("toy_colors:ColorHead")
    assert entry.head.loss is Head.loss
    assert entry.required(("build", "loss", "predict")) == ("build", "predict")


def test_nothing_of_the_encoder_learns():
    spec = load_segmenter(COLOR)
    given = EncoderSpec(name="toy_colors:colors")
    encoder = build_encoder(encoder_for(spec, given))
    segmenter = build_segmenter(spec, encoder, 2, seed=0)
    assert encoder.body_is_frozen
    assert not encoder.parts["neck"]
    assert not any(each.requires_grad for each in segmenter.parameters())


@pytest.mark.parametrize("changes", [{"neck": "fpn_concat"}, {"adapt": {"lora": {"rank": 2}}}])
def test_an_encoder_that_must_learn_is_refused(changes):
    encoder = EncoderSpec(name="darknet_tiny", **changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        encoder_for(load_segmenter(COLOR), encoder)
