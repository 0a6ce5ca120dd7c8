"""The code of the page "From Python", run as its readers run it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_clips import NAME, make_small, tower

import encoder_ablations as ea

PAGE = Path(__file__).resolve().parents[3] / "docs" / "python.md"


def test_the_code_of_the_page_runs(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "my_study").symlink_to(study)
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(photo).save("photo.jpg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    names = {}
    for block in blocks:
        exec(block, names)
    stated = re.search(r"^# (\{\"p2\".*\})$", PAGE.read_text(), re.MULTILINE)[1]
    assert names["shapes"] == eval(stated)
    assert names["names"][:2] == ["dinov3_b16", "dinov3_convnext_b"]
    assert names["scores"].shape == (2, 3, 128, 192)
    assert names["progress"].best_score > 0.5
    assert (tmp_path / "outputs" / "squares" / "metrics.jsonl").exists()
    assert names["prediction"].mask.shape == (200, 300)
    assert names["mask"].shape == (60, 80)
    assert len(names["table"]) == 2


@pytest.fixture
def small_clip(monkeypatch, tmp_path):
    """The folder of a tiny text tower; timm makes tiny bodies."""
    make_small(monkeypatch)
    return tower(tmp_path / "clip")


def test_texts_in_place_of_training(small_clip):
    (block,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    block = block.replace('"clip_b16", neck', f'"{NAME}", weights="random", neck')
    block = block.replace(
        'encode_texts("clip_b16", ', f'encode_texts("{NAME}", tower=tower, texts='
    )
    names = {"ea": ea, "images": torch.randint(0, 256, (1, 3, 40, 60)), "tower": small_clip}
    exec(block, names)
    assert names["scores"].shape == (1, 2, 40, 60)
    assert names["scores"].isfinite().all()


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        ({}, {"queries": {"road": 0}}),
        ({"neck": "none"}, {"queries": {"road": 0}}),
        ({"neck": "none", "text": True}, {}),
    ],
)
def test_texts_that_are_not_given_are_one_line_with_all_steps(small_clip, encoder, settings):
    built = ea.create_encoder(NAME, weights="random", **encoder)
    with pytest.raises(ea.InputError) as raised:
        ea.create_segmenter("zero_shot", built, 1, **settings)
    message = str(raised.value)
    assert "\n" not in message
    assert all(step in message for step in ("text=True", "queries", "take_texts"))
