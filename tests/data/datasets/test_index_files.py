"""What a line of an index file may say, and what it may not."""

import pytest

from encoder_ablations.data.checks.file_names import list_split
from encoder_ablations.data.datasets.index_files import read_index, write_index
from encoder_ablations.data.datasets.pairing import find_all_pairs, find_pairs
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def spec(make_dataset):
    return make_dataset(splits={"train": "a.txt", "val": "val"})


def ids_of(spec, tmp_path, *lines) -> list[str]:
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    return [pair.id for pair in find_pairs(spec, "train")]


@pytest.mark.parametrize(
    "line",
    [
        "train_2",
        "train_2.png",
        "images/train/train_2.png",
        "{root}/images/train/train_2.png",
        r"images\train\train_2.png",
        "train_2 1 1 1",
        "images/train/train_2.png masks/train/train_2.png",
    ],
)
def test_a_line_may_be_an_id_a_name_or_a_path(spec, tmp_path, line):
    assert ids_of(spec, tmp_path, line.format(root=tmp_path)) == ["train_2"]


def test_lint_finds_paths_below_a_relative_root(spec, tmp_path, monkeypatch):
    """Images are listed below the resolved root, and so are the paths of lines."""
    for kind in ("images", "masks"):
        (tmp_path / kind / "train/deep/7").mkdir(parents=True)
        (tmp_path / kind / "train/train_0.png").rename(tmp_path / kind / "train/deep/7/L.png")
    (tmp_path / "a.txt").write_text("images/train/deep/7/L.png")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("DATASETS_ROOT", "")
    patterns = {kind: f"{kind}/train/deep/{{id}}/L.png" for kind in ("images", "masks")}
    relative = spec.model_copy(update={"root": tmp_path.name, **patterns})
    listing = list_split(relative, "train")
    assert [pair.id for pair in listing.pairs] == ["7"], listing.findings


def test_names_may_hold_spaces(spec, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind / "train/train_0.png").rename(tmp_path / kind / "train/train_1 b.png")
    assert ids_of(spec, tmp_path, "train_1 b", "train_1") == ["train_1", "train_1 b"]


@pytest.mark.parametrize(
    "line", ["../secret.png", "images/../../secret.png", "/etc/secret.png", "..\\secret.png"]
)
def test_paths_do_not_lead_out_of_the_dataset(spec, tmp_path, line):
    with pytest.raises(InputError, match=r"a\.txt leads out of the dataset's folder") as caught:
        ids_of(spec, tmp_path, "train_1", line)
    assert "\n" not in str(caught.value)


def test_one_image_twice_in_two_spellings(spec, tmp_path):
    with pytest.raises(InputError, match="lists 'train_1' 2 times"):
        ids_of(spec, tmp_path, "train_1", "images/train/train_1.png")


def test_a_line_that_means_nothing_is_named(spec, tmp_path):
    with pytest.raises(
        InputError, match=r"1 image is listed in a\.txt but missing below .*images: hello 1"
    ):
        ids_of(spec, tmp_path, "hello 1")


def test_what_is_written_is_read_back(spec, tmp_path):
    images = {path.stem: [path] for path in (tmp_path / "images").rglob("*.png")}
    write_index(tmp_path / "b.txt", tmp_path, [files[0] for files in images.values()])
    assert "images/val/val_1.png\n" in (tmp_path / "b.txt").read_text()
    assert read_index(tmp_path / "b.txt", tmp_path, images) == sorted(images)


def test_a_linked_folder_is_listed_and_read_back(make_dataset, tmp_path):
    spec = make_dataset(splits={"train": "a.txt", "val": "val"}, root=str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "root" / kind).symlink_to(tmp_path / kind)
    pairs = find_all_pairs(spec)
    write_index(tmp_path / "root/a.txt", spec.folder, [pair.image for pair in pairs])
    assert find_pairs(spec, "train") == pairs


@pytest.mark.parametrize("name", ["a\nb.png", "a\udcff.png", "images/ä ö/→.png"])
def test_names_that_are_no_line_of_text_are_refused(tmp_path, name):
    file = tmp_path / name
    if "→" in name:
        write_index(tmp_path / "a.txt", tmp_path, [file])
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == f"{name}\n"
        return
    with pytest.raises(InputError, match="cannot stand in an index file"):
        write_index(tmp_path / "a.txt", tmp_path, [file])
