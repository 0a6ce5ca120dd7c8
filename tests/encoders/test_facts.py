"""The files of facts say what the models say."""

import timm
import yaml

from encoder_ablations.encoders.facts import FILE, TIMM_MODELS, read_facts
from encoder_ablations.encoders.facts_writer import as_yaml, model_names
from encoder_ablations.encoders.table.lookup import ROWS, find_row


def test_the_table_of_facts_is_that_of_the_models():
    assert list(read_facts()) == [row.name for row in ROWS]
    assert FILE.read_text(encoding="utf-8") == as_yaml()


def test_every_listed_name_is_a_plain_vision_transformer_of_timm():
    """An installed timm that is newer may have more."""
    listed = yaml.safe_load(TIMM_MODELS.read_text(encoding="utf-8"))["models"]
    known = yaml.safe_load(model_names())["models"]
    assert not set(listed) - set(known)


def test_a_model_that_is_not_listed_is_looked_up(monkeypatch):
    monkeypatch.setattr("encoder_ablations.encoders.table.lookup.timm_models", list)
    assert find_row("vit_tiny_patch16_224").model == "vit_tiny_patch16_224"
    assert timm.is_model("vit_tiny_patch16_224")
