"""Files are read and written beside the model: same files, nothing by halves, short queues."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.prediction import pipeline
from encoder_ablations.experiments.prediction.folder import predict_files
from encoder_ablations.experiments.prediction.inputs import InputFile, input_files
from encoder_ablations.experiments.prediction.outputs import Outputs, Wanted
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.files import StorageError

CLASSES = ("red", "green", "blue")
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
PHOTOS = 12


class Colours(torch.nn.Module):
    """A segmenter whose class scores are the colours; it notes how many images it sees at once."""

    mean = torch.zeros(3, 1, 1)
    head = Head()

    def __init__(self):
        super().__init__()
        self.batches = []

    def predict(self, images):
        self.batches.append(len(images))
        return ScoreMaps(images.float() / 32, tuple(images.shape[-2:]), stride=1)


@pytest.fixture
def photos(tmp_path):
    """Twelve photos of two sizes; the fourth is damaged."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        size = (20, 30) if number < 8 else (30, 20)
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "03.png").write_bytes(b"no image")
    return input_files([str(folder)])


def predict(files, folder, threads=2, batch=1, model=None):
    predictor = Predictor([Member(model or Colours())], CLASSES, InferenceSpec(batch=batch))
    outputs = Outputs(folder, CLASSES, COLORS, Wanted(uncertainty=True, probabilities=True))
    return predict_files(files, predictor, outputs, threads=threads)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_number_of_threads_changes_no_bit(photos, tmp_path):
    found = {}
    for threads in (1, 2, 7):
        folder = tmp_path / str(threads)
        outcome = predict(photos, folder, threads)
        assert len(outcome.done) == PHOTOS - 1
        (problem,) = outcome.problems
        assert "03.png" in problem
        found[threads] = contents(folder)
    assert len(found[1]) == 5 * (PHOTOS - 1)
    assert found[1] == found[2] == found[7]


def test_images_of_one_size_go_through_the_model_together(photos, tmp_path):
    model = Colours()
    outcome = predict(photos, tmp_path / "together", batch=3, model=model)
    assert len(outcome.done) == PHOTOS - 1
    # 0-2, the damaged one, 4-6, 7, then those of another size
    assert model.batches == [3, 3, 1, 3, 1]
    predict(photos, tmp_path / "alone")
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_large_images_are_not_put_together():
    predictor = Predictor([Member(Colours())], CLASSES, InferenceSpec(batch=16, window=4096))
    assert predictor.takes_together((64, 64)) == 16
    assert predictor.takes_together((2048, 2048)) == 2
    assert predictor.takes_together((4096, 4096)) == 1
    assert predictor.takes_together((5000, 64)) == 1


def test_ctrl_c_leaves_whole_images_only(photos, tmp_path):
    class Interrupted(Colours):
        def predict(self, images):
            if len(self.batches) == 5:
                raise KeyboardInterrupt
            return super().predict(images)

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict(photos, folder, model=Interrupted())
    described = sorted(path.stem for path in (folder / "json").glob("*.json"))
    assert described
    whole = contents(folder)
    predict(photos, tmp_path / "right")
    right = contents(tmp_path / "right")
    assert all(right[name] == content for name, content in whole.items())
    assert len(whole) == 5 * len(described)
    # the same call goes on
    assert len(predict(photos, folder).done) == PHOTOS - 1
    assert contents(folder) == right


def test_a_full_disk_ends_the_work(photos, tmp_path, monkeypatch):
    def full(path, content):
        raise StorageError("cannot write: no space left")

    monkeypatch.setattr(pipeline, "write_json", full)
    with pytest.raises(StorageError):
        predict(photos, tmp_path / "out")


def test_few_images_wait_in_memory(tmp_path):
    """Files that are read but not yet written: those in both queues and at the model."""
    alive, most = set(), []
    lock = threading.Lock()

    class Counted(InputFile):
        def read(self):
            with lock:
                alive.add(self.name)
                most.append(len(alive))
            return super().read()

    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    outputs = Outputs(tmp_path / "out", CLASSES, COLORS)

    class Noted(Outputs):
        def write(self, name, *arguments):
            super().write(name, *arguments)
            with lock:
                alive.discard(name)

    outputs = Noted(tmp_path / "out", CLASSES, COLORS)
    files = [Counted(f"{number}", path) for number in range(40)]
    predictor = Predictor([Member(Colours())], CLASSES)
    assert len(predict_files(files, predictor, outputs, threads=2).done) == 40
    assert max(most) <= 2 + 2 + 2
