"""The files of facts say what the models say."""

import pytest
import yaml

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.facts import FILE, read_facts, timm_models
from encoder_ablations.encoders.facts_writer import as_yaml, model_names
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import ROWS, find_row
from encoder_ablations.encoders.table.rows import HierarchicalRow, ViTRow
from encoder_ablations.utils.errors import InputError


@pytest.mark.slow
def test_the_table_of_facts_is_that_of_the_models():
    assert list(read_facts()) == [row.name for row in ROWS]
    assert FILE.read_text(encoding="utf-8") == as_yaml()


def test_every_listed_name_is_a_model_of_timm():
    """An installed timm that is newer may have more."""
    listed = timm_models()
    known = {kind: text.split() for kind, text in yaml.safe_load(model_names()).items()}
    assert list(listed) == list(known) == ["plain", "hierarchical"]
    for kind, names in listed.items():
        assert not names - set(known[kind])
    assert "vit_tiny_patch16_224" in listed["plain"]
    assert "convnext_tiny" in listed["hierarchical"]


@pytest.mark.parametrize(
    ("name", "kind"), [("vit_tiny_patch16_224", ViTRow), ("convnext_tiny.fb_in1k", HierarchicalRow)]
)
def test_a_model_that_is_not_listed_is_looked_up(monkeypatch, name, kind):
    assert isinstance(find_row(name), kind)
    nothing = {"plain": frozenset(), "hierarchical": frozenset()}
    monkeypatch.setattr("encoder_ablations.encoders.table.lookup.timm_models", lambda: nothing)
    row = find_row(name)
    assert isinstance(row, kind)
    assert row.model == name


@pytest.mark.parametrize("name", ["resnet50.nothing", "vit_tiny_patch16_224.nothing"])
def test_an_unknown_tag_names_the_known_ones(name):
    with pytest.raises(InputError, match=r"tag.*(resnet50\.a1_in1k|augreg_in21k)"):
        build_encoder(EncoderSpec(name=name, weights="random"))
