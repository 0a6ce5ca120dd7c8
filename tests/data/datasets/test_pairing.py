import re

import pytest

from encoder_ablations.data.datasets.pairing import find_pairs
from encoder_ablations.utils.errors import InputError


def test_pairs_are_sorted_and_belong_together(make_dataset):
    pairs = find_pairs(make_dataset({"train": 12, "val": 1}), "train")
    assert [pair.id for pair in pairs] == sorted(f"train_{number}" for number in range(12))
    assert all(pair.image.stem == pair.mask.stem == pair.id for pair in pairs)


def test_suffixes_in_capitals_count_and_hidden_files_do_not(make_dataset, tmp_path):
    spec = make_dataset()
    (tmp_path / "images/train/train_0.png").rename(tmp_path / "images/train/train_0.PNG")
    (tmp_path / "images/train/._train_0.png").touch()
    (tmp_path / "images/train/Thumbs.db").touch()
    assert len(find_pairs(spec, "train")) == 4


def test_index_file_finds_stems_in_any_sub_folder(make_dataset, tmp_path):
    spec = make_dataset(splits={"train": "lists/a.txt", "val": "val"})
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/a.txt").write_bytes(b"\xef\xbb\xbfval_1\r\n\r\ntrain_3.png\r\n train_0 \r\n")
    pairs = find_pairs(spec, "train")
    assert [pair.id for pair in pairs] == ["train_0", "train_3", "val_1"]
    assert pairs[2].mask == tmp_path / "masks/val/val_1.png"


def refused(spec, split="train") -> str:
    with pytest.raises(InputError) as caught:
        find_pairs(spec, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_split_lists_the_known_ones(make_dataset):
    assert "no split 'test'. It has: train, val." in refused(make_dataset(), "test")


def test_missing_root_says_where_it_was_looked_up(make_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATASETS_ROOT", raising=False)
    spec = make_dataset(root="nowhere")
    assert f"{tmp_path}/datasets/nowhere. DATASETS_ROOT is not set" in refused(spec)
    monkeypatch.setenv("DATASETS_ROOT", "/else")
    assert (
        "no folder /else/nowhere. The root 'nowhere' was looked up in DATASETS_ROOT=/else."
        in refused(spec)
    )
    assert "no folder /nowhere. Correct 'root'" in refused(
        make_dataset({"other": 1}, root="/nowhere", splits=spec.splits)
    )


def test_missing_folder_names_the_nearest(make_dataset, tmp_path):
    message = refused(make_dataset(splits={"train": "trian", "val": "val"}))
    assert message == (
        "dataset 'toy', split 'train': "
        f"there is no folder {tmp_path}/images/trian. Did you mean 'train'?"
    )


def test_missing_partners_are_counted_and_named(make_dataset, tmp_path):
    spec = make_dataset({"train": 9, "val": 1})
    for number in (1, 2, 5, 7):
        (tmp_path / f"masks/train/train_{number}.png").unlink()
    assert (
        f"4 masks are missing in {tmp_path}/masks/train: train_1, train_2, train_5, …."
        in refused(spec)
    )
    (tmp_path / "images/val/val_0.png").rename(tmp_path / "images/val/other.png")
    assert f"1 image is missing in {tmp_path}/images/val: val_0." in refused(spec, "val")


def test_jpeg_masks_are_named_as_such(make_dataset, tmp_path):
    spec = make_dataset()
    (tmp_path / "masks/train/train_0.png").rename(tmp_path / "masks/train/train_0.jpg")
    assert "JPEG and WebP change class ids" in refused(spec)


def test_two_files_of_one_stem(make_dataset, tmp_path):
    spec = make_dataset()
    (tmp_path / "images/train/train_1.jpg").touch()
    assert re.search(r"train_1.jpg and .*train_1.png share a stem", refused(spec))


def test_empty_split_says_what_is_there_instead(make_dataset, tmp_path):
    spec = make_dataset()
    for path in (tmp_path / "images/train").iterdir():
        path.rename(path.with_suffix(".npy"))
    assert "holds .npy. Allowed: .bmp" in refused(spec)
    for path in (tmp_path / "images/train").iterdir():
        path.unlink()
    assert "holds nothing" in refused(spec)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no index file .*a.txt. A path in splits is taken from the dataset's folder"),
        (b"", "a.txt is empty"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"train_1\ntrain_1\n", "lists 'train_1' 2 times"),
        (
            b"train_1\nhello\nworld\n",
            "2 images are listed in a.txt but missing below .*images: hello, world",
        ),
    ],
)
def test_bad_index_files(make_dataset, tmp_path, content, message):
    spec = make_dataset(splits={"train": "a.txt", "val": "val"})
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    assert re.search(message, refused(spec))
