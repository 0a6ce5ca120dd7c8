"""Features of texts: means over prompts, kept on disk."""

import pytest
import torch

from encoder_ablations import encode_texts
from encoder_ablations.encoders.text import features
from encoder_ablations.encoders.text.features import mean_features, text_features
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.encoders.text.templates import TEMPLATES
from encoder_ablations.encoders.text.towers import load_tower
from encoder_ablations.utils.errors import InputError
from tests.helpers.small_text_towers import clip_folder

TEXTS = ["road", "tree", "small lake"]
TWO = ("a photo of a {}.", "the {} in the city")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("tower"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoder_ablations" / "texts"


def test_prompts_are_normalised_averaged_and_normalised(folder):
    tower = load_tower(str(folder))
    found = mean_features(tower, TEXTS, TWO)
    for text, own in zip(TEXTS, found, strict=True):
        each = [tower.features([template.replace("{}", text)])[0] for template in TWO]
        mean = torch.stack([one / one.norm() for one in each]).mean(0)
        torch.testing.assert_close(own, mean / mean.norm(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_the_templates(folder):
    assert [len(TEMPLATES[name]) for name in ("simple", "aerial", "imagenet")] == [1, 1, 80]
    assert len(set(TEMPLATES["imagenet"])) == 80
    assert all(each.count("{}") == 1 for given in TEMPLATES.values() for each in given)


def test_features_are_kept_by_tower_texts_and_templates(folder, cache, tmp_path, monkeypatch):
    spec = TextSpec(templates=TWO, tower=str(folder))
    first = text_features("clip_b16", TEXTS, spec)
    others = [
        text_features("clip_b16", TEXTS[:2], spec),
        text_features("clip_b16", TEXTS, TextSpec(tower=str(folder))),
        text_features("clip_b16", TEXTS, TextSpec(tower=str(clip_folder(tmp_path / "b", seed=1)))),
    ]
    assert len(list(cache.iterdir())) == 4
    assert not any(other.shape == first.shape and torch.equal(other, first) for other in others)
    # the tower is not read again
    monkeypatch.setattr(features, "load_tower", None)
    assert torch.equal(text_features("clip_b16", TEXTS, spec), first)


def test_a_damaged_file_is_written_again(folder, cache):
    spec = TextSpec(tower=str(folder))
    first = text_features("clip_b16", TEXTS, spec)
    (path,) = cache.iterdir()
    path.write_bytes(b"nothing")
    assert torch.equal(text_features("clip_b16", TEXTS, spec), first)
    assert path.stat().st_size > 100


def test_one_call(folder, tmp_path):
    file = tmp_path / "classes.yaml"
    file.write_text("ground: [road]\nplants: [tree]\nwater: [small lake]\n")
    found = encode_texts("clip_b16", file, tower=str(folder), templates=list(TWO))
    assert torch.equal(found, encode_texts("clip_b16", TEXTS, tower=str(folder), templates=TWO))
    assert found.shape == (3, 16)


def test_bad_input_is_one_line(folder):
    with pytest.raises(InputError, match=r"unknown template set 'imagnet'.*'imagenet'") as raised:
        encode_texts("clip_b16", TEXTS, templates="imagnet")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"needs \{\} once"):
        encode_texts("clip_b16", TEXTS, templates=["a photo of a {} and {}"])
    with pytest.raises(InputError, match="empty"):
        encode_texts("clip_b16", TEXTS, templates=[])
    with pytest.raises(InputError, match="no texts"):
        text_features("clip_b16", [], TextSpec(tower=str(folder)))
    with pytest.raises(InputError, match=r"mae_b16 has no known text tower.*clip_b32"):
        encode_texts("mae_b16", TEXTS)
