"""Text towers by transformers: found, read whole, and refused in one line."""

import json
import random
import re
from functools import cache
from itertools import pairwise

import pytest
import torch
from transformers import AutoTokenizer, CLIPModel, Siglip2Model, SiglipModel, Tipsv2Model

from encoder_ablations.encoders.table.lookup import ROWS
from encoder_ablations.encoders.text.sources import tower_source
from encoder_ablations.encoders.text.towers import load_tower, tower_digest
from encoder_ablations.encoders.weights import hub
from encoder_ablations.utils.errors import InputError
from tests.helpers.small_text_towers import (
    END,
    START,
    clip_folder,
    clip_tokenizer,
    siglip2_folder,
    siglip_folder,
    tipsv2_folder,
    trained_merges,
)

FOLDERS = {
    "clip": (clip_folder, CLIPModel),
    "siglip": (siglip_folder, SiglipModel),
    "siglip2": (siglip2_folder, Siglip2Model),
    "tipsv2": (tipsv2_folder, Tipsv2Model),
}
PROMPTS = ["a photo of a tree.", "a photo of the Road", "sky"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind -> folder of a tiny whole model."""
    root = tmp_path_factory.mktemp("towers")
    return {kind: make(root / kind) for kind, (make, _) in FOLDERS.items()}


def transformers_features(kind, folder, prompts):
    """By the whole model of transformers, one prompt at a time."""
    model = FOLDERS[kind][1].from_pretrained(folder).eval()
    tower = load_tower(str(folder))
    found = []
    for prompt in prompts:
        inputs = tower.tokenizer(
            prompt.lower(), padding="max_length", max_length=tower.length, return_tensors="pt"
        )
        if kind != "tipsv2":
            inputs = {"input_ids": inputs["input_ids"]}
        with torch.no_grad():
            found.append(model.get_text_features(**inputs).pooler_output)
    return torch.cat(found)


@pytest.mark.parametrize("kind", FOLDERS)
def test_features_are_those_of_the_whole_model(folders, kind):
    tower = load_tower(str(folders[kind]))
    found = tower.features(PROMPTS)
    assert tower.kind == kind
    expected = transformers_features(kind, folders[kind], PROMPTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0], found[1])


def test_padding_behind_clips_last_token_does_not_matter(folders):
    tower = load_tower(str(folders["clip"]))
    ids = tower.tokenizer("sky")["input_ids"]
    with torch.no_grad():
        alone = tower.model(input_ids=torch.tensor([ids])).text_embeds
    torch.testing.assert_close(tower.features(["sky"]), alone, atol=1e-5, rtol=1e-5)


def test_capitals_do_not_matter(folders):
    for folder in folders.values():
        tower = load_tower(str(folder))
        assert torch.equal(tower.features(["Tree"]), tower.features(["tree"]))


def test_a_tower_alone_is_enough(folders, tmp_path):
    tower = load_tower(str(folders["clip"]))
    tower.model.save_pretrained(tmp_path)
    tower.tokenizer.save_pretrained(tmp_path)
    alone = load_tower(str(tmp_path))
    assert torch.equal(alone.features(PROMPTS), tower.features(PROMPTS))
    assert alone.digest != tower.digest == tower_digest(folders["clip"])


def test_nothing_is_said_about_the_vision_tower(folders, capfd):
    load_tower(str(folders["clip"])).features(PROMPTS)
    assert capfd.readouterr() == ("", "")


def openai_tokens(text, merges):
    """The tokens that OpenAI's ``simple_tokenizer.py`` gives, by its algorithm.

    Letters stand for bytes; each word's pairs are merged, the earliest merge first.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    cleaned = re.sub(r"\s+", " ", text).strip().lower()
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+"
    found = []
    for word in re.findall(pattern, cleaned):
        letters = [symbol_of(byte) for byte in word.encode()]
        letters[-1] += "</w>"
        while True:
            pairs = set(pairwise(letters))
            best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)), default=None)
            if best not in ranks:
                break
            letters = merged(letters, best)
        found += letters
    return found


@cache
def symbol_of(byte):
    """OpenAI's letter for a byte: itself if it can be printed, else one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [each for each in range(256) if each not in printable].index(byte))


def merged(letters, pair):
    """The letters with every occurrence of a pair joined, from left to right."""
    found = []
    for letter in letters:
        if found and (found[-1], letter) == pair and not isinstance(found[-1], Joined):
            found[-1] = Joined(found[-1] + letter)
        else:
            found.append(letter)
    return [str(each) for each in found]


class Joined(str):
    """A letter that has been joined in this pass, and is not joined again."""

    __slots__ = ()


def test_clips_tokeniser_merges_as_openais():
    """On random strings; what OpenAI repairs before (broken Unicode, HTML) is left out."""
    merges = trained_merges()
    assert len(merges) > 40
    tokenizer = clip_tokenizer(merges)
    draw = random.Random(0)
    alphabet = "aaeehorti dsky  photo'stree12.,!-_é\n"
    texts = ["".join(draw.choices(alphabet, k=draw.randint(1, 30))) for _ in range(300)]
    texts += ["a photo of the tree's café roof.", "it's 2 rivers"]
    for text in texts:
        first, *found, last = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        assert found == openai_tokens(text, merges), text
        assert (first, last) == (START, END)


def refusal(source):
    with pytest.raises(InputError) as raised:
        load_tower(str(source))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_no_tower_is_refused(folders, tmp_path):
    assert "no folder" in refusal(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json" in refusal(empty)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "'bert' is no known kind" in refusal(other)


def test_damaged_weights_are_refused(tmp_path):
    clip_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    assert "cannot be read" in refusal(tmp_path)


def test_a_tokeniser_that_needs_a_package_says_which(folders, monkeypatch):
    def needs_more(*_, **__):
        raise ImportError("no sentencepiece")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", needs_more)
    assert "pip install sentencepiece" in refusal(folders["siglip"])


def test_weights_without_a_projection_are_refused(folders, tmp_path):
    """transformers alone would draw a random one."""
    tower = load_tower(str(folders["clip"]))
    state = tower.model.state_dict()
    state.pop("text_projection.weight")
    tower.model.save_pretrained(tmp_path, state_dict=state)
    tower.tokenizer.save_pretrained(tmp_path)
    assert "lack text_projection.weight" in refusal(tmp_path)


def test_a_text_that_is_too_long_is_refused(folders):
    tower = load_tower(str(folders["clip"]))
    with pytest.raises(InputError, match="reads at most 77"):
        tower.features(["tree " * 90])


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    monkeypatch.setattr(hub, "get_hf_file_metadata", unreachable)
    message = refusal("openai/clip-vit-base-patch16")
    assert "cannot download openai/clip-vit-base-patch16" in message
    assert "no route to host" in message


def test_the_table_says_which_tower_belongs_to_which_encoder():
    assert tower_source("clip_b16", None) == "openai/clip-vit-base-patch16"
    assert tower_source("dinov2_b14", "my/tower") == "my/tower"
    known = [row.name for row in ROWS if getattr(row, "text", None)]
    assert len(known) == 10
    for name in ("dinov2_b14", "resnet50", "vit_base_patch16_clip_224.laion2b"):
        with pytest.raises(InputError, match=f"{name} has no known.*siglip2_l16, tipsv2"):
            tower_source(name, None)
