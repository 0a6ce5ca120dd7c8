"""The code of the page "From Python", run as its readers run it."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

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
    assert names["progress"].best_miou > 0.5
    assert (tmp_path / "outputs" / "squares" / "metrics.jsonl").exists()
    assert names["prediction"].mask.shape == (200, 300)
    assert names["mask"].shape == (60, 80)
    assert len(names["table"]) == 2
