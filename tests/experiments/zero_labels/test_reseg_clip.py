"""ReSeg-CLIP's configuration as one YAML on tiles, with tiny weights and superpixels for SAM."""

import json

import numpy as np
import pytest
from PIL import Image
from small_clips import make_small, tower

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.studies.study import load_study_spec, plan

WIDTH = 768
"""Numbers of a token of ViT-L/14 in the space of texts."""
SUPERPIXELS = [{"source": "superpixels", "count": count} for count in (24, 12, 8, 4)]


@pytest.fixture
def tiles(tmp_path):
    """Two tiles 240×256 with 4 bands and masks."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        folder = tmp_path / "tiles" / split / "area" / "0"
        folder.mkdir(parents=True)
        mask = rng.integers(0, 6, (15, 16)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
        bands = np.stack([40 * mask, 255 - 40 * mask, 20 * mask, 0 * mask], axis=-1)
        Image.fromarray(bands.astype(np.uint8)).save(folder / "R_G_B_IR.png")
        Image.fromarray(mask).save(folder / "L.png")
    return tmp_path / "tiles"


def test_the_configuration_is_the_published_one():
    (run,) = plan(load_study_spec("rs_tiles_reseg"))
    head = run.segmenter
    assert len(head.queries) == 19
    assert [list(head.queries.values()).count(k) for k in range(6)] == [5, 2, 4, 4, 1, 3]
    assert (head.window, head.scale, head.synonyms, head.averaged) == (
        224,
        1.0,
        "max",
        "probabilities",
    )
    assert run.fraction == 0


def test_it_runs_on_tiles_of_four_bands(tiles, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    make_small(monkeypatch, depth=24, img_size=224)
    folder = tower(tmp_path / "tower", width=WIDTH)
    text = {"templates": "aerial", "tower": folder}
    head = {"base": "reseg_clip", "text": text, "regions": SUPERPIXELS}
    changes = {
        "encoders": [{"base": "clip_l14", "grid": "native", "weights": "random"}],
        "segmenters": [head],
        "datasets": [{"base": "rs_tiles", "root": str(tiles)}],
    }
    words = ["recipe.augmentation.crop=[56,56]"]
    words += [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    assert main(["run", "rs_tiles_reseg", "--output", "out", "--device", "cpu", *words]) == 0
    (record,) = map(load_record, (tmp_path / "out/runs").iterdir())
    assert np.sum(record.confusion_matrix) == 240 * 256
    assert record.encoder["texts"]["templates"] == ["Aerial photo of {} in the city"]
    # the bodies of all windows follow the image, not one class everywhere
    assert np.count_nonzero(np.sum(record.confusion_matrix, axis=0)) > 1
