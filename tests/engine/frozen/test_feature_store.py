"""Maps on disk: equal when read, refused when damaged, within their space, shared by processes."""

import logging
import multiprocessing
import os
import time

import pytest
import torch
from safetensors import SafetensorError

from encoder_ablations.engine.frozen import feature_store
from encoder_ablations.engine.frozen.feature_store import FeatureStore

MAPS = [
    torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0)),
    torch.arange(6.0).view(1, 6),
]


def same(kept, maps):
    found = kept.on(torch.device("cpu"))
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(found, maps, strict=True))


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store", 1 << 20)


def size_of(folder):
    return sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ""
    )


def only_file(store):
    (path,) = store.folder.rglob("*.safetensors")
    return path


def test_what_is_read_is_what_was_written(store):
    group = store.group({"encoder": "a"})
    assert group.read("image", "1") is None
    group.write("image", "1", MAPS)
    assert same(group.read("image", "1"), MAPS)
    assert same(
        FeatureStore(store.folder, 1).group({"encoder": "a"}).read("image", "1"), MAPS
    )  # any other process
    assert store.group({"encoder": "b"}).read("image", "1") is None
    assert group.read("another image", "1") is None


def test_another_state_is_computed_again_and_replaces_the_old_one(store):
    group = store.group({})
    group.write("image", "1", MAPS)
    assert group.read("image", "2") is None
    group.write("image", "2", [MAPS[0] + 1])
    assert same(group.read("image", "2"), [MAPS[0] + 1])
    only_file(store)


def test_half_precision_takes_half_the_space_and_gives_the_type_back(store):
    rounded = [torch.randn(1, 64, 32, 32).to(torch.bfloat16).float()]
    store.group({"dtype": "full"}).write("image", "", rounded)
    full = only_file(store).stat().st_size
    group = store.group({"dtype": "half"})
    group.write("image", "", rounded, torch.bfloat16)
    assert same(group.read("image", ""), rounded)
    assert min(path.stat().st_size for path in store.folder.rglob("*.safetensors")) < 0.51 * full
    group.write("computed in half", "", [rounded[0].to(torch.bfloat16)])
    assert group.read("computed in half", "").on(torch.device("cpu"))[0].dtype == torch.bfloat16


@pytest.mark.parametrize("place", [0.02, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_flipped_bit_anywhere_is_noticed(store, caplog, place):
    group = store.group({})
    group.write("image", "1", MAPS)
    path = only_file(store)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        kept = group.read("image", "1")
    assert kept is None
    assert "damaged" in caplog.text
    assert str(path) in caplog.text
    group.write("image", "1", MAPS)
    assert same(group.read("image", "1"), MAPS)


@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1])
def test_a_truncated_file_is_noticed(store, caplog, keep):
    group = store.group({})
    group.write("image", "1", MAPS)
    path = only_file(store)
    path.write_bytes(path.read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        assert group.read("image", "1") is None
    assert "damaged" in caplog.text


def test_a_full_store_keeps_what_it_has_and_says_so_once(tmp_path, caplog):
    content = [torch.zeros(1000)]
    store = FeatureStore(tmp_path, 3 * 5000)
    group = store.group({})
    with caplog.at_level(logging.WARNING):
        for index in range(6):
            group.write(str(index), "", content)
    assert [group.read(str(index), "") is not None for index in range(6)] == [True] * 3 + [
        False
    ] * 3
    assert size_of(tmp_path) <= 3 * 5000
    assert len(caplog.records) == 1
    assert "--feature-cache-gb" in caplog.text


def test_idle_groups_make_room_least_recently_used_first(tmp_path):
    content = [torch.zeros(1000)]
    store = FeatureStore(tmp_path, 3 * 5000)
    groups = {name: store.group({"name": name}) for name in ("old", "older", "busy", "new")}
    for age, name in ((2000, "old"), (3000, "older"), (0, "busy")):
        groups[name].write("image", "", content)
        then = time.time() - age
        os.utime(groups[name].folder / "key.json", (then, then))
    for image in ("first", "second", "third"):
        groups["new"].write(image, "", content)
        store.group({"name": "new"})
    left = {
        name
        for name, group in groups.items()
        if group.folder.exists() and any(group.folder.rglob("*.safet*"))
    }
    assert left == {"busy", "new"}
    assert groups["new"].read("second", "") is not None
    assert groups["new"].read("third", "") is None  # what is in use stays
    assert size_of(tmp_path) <= 3 * 5000


def test_only_as_much_is_deleted_as_is_needed(tmp_path):
    content = [torch.zeros(1000)]
    store = FeatureStore(tmp_path, 3 * 5000)
    for age, name in ((2000, "old"), (3000, "older")):
        group = store.group({"name": name})
        group.write("image", "", content)
        os.utime(group.folder / "key.json", (time.time() - age, time.time() - age))
    for image in ("first", "second"):
        store.group({"name": "new"}).write(image, "", content)
    assert store.group({"name": "old"}).read("image", "") is not None
    assert store.group({"name": "older"}).read("image", "") is None


def test_leftovers_of_a_killed_process_are_cleared_and_counted_anew(tmp_path):
    store = FeatureStore(tmp_path, 12000)
    store.group({}).write("image", "", [torch.zeros(1000)])
    folder = next(tmp_path.rglob("*.safetensors")).parent
    (folder / ".x.safetensors~host~1~abc").write_bytes(bytes(9000))
    other = folder / ".key.json.abc"  # another process writes it at this moment, without the lock
    other.write_text("{")
    (tmp_path / "used").write_text("17 and a ha")
    again = FeatureStore(tmp_path, 12000)
    again.group({}).write("another", "", [torch.zeros(1000)])
    assert not list(folder.glob(".x*"))
    assert other.exists()
    assert again.group({}).read("another", "") is not None
    (tmp_path / "used").write_text("")  # killed while another process writes
    again.group({}).write("third", "", [torch.zeros(1000)])
    assert again.group({}).read("third", "") is None  # there is no room for it


def test_a_folder_that_cannot_be_written_to_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "store", 1 << 20)
    with caplog.at_level(logging.WARNING):
        for index in range(3):
            store.group({}).write(str(index), "", MAPS)
    assert store.group({}).read("0", "") is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_a_full_disk_stops_nothing(store, caplog, monkeypatch, error):
    def no_space(tensors, filename, metadata):
        raise error

    store.group({}).write("image", "", MAPS)
    monkeypatch.setattr(feature_store, "save_file", no_space)
    with caplog.at_level(logging.WARNING):
        store.group({}).write("another", "", MAPS)
        store.group({}).write("third", "", MAPS)
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert same(store.group({}).read("image", ""), MAPS)
    assert only_file(store)


def test_files_take_no_more_than_is_counted(tmp_path, monkeypatch):
    """Many maps, and a long state."""
    store, sizes = FeatureStore(tmp_path, 1 << 24), []
    write = store.write
    monkeypatch.setattr(
        store, "write", lambda path, size, save: sizes.append(size) or write(path, size, save)
    )
    store.group({}).write("image", "0" * 40, [torch.zeros(1, 2, 300, 300) for _ in range(20)])
    assert 0 < only_file(store).stat().st_size <= sizes[0]
    kept = sum(path.stat().st_size for path in store.folder.glob("*/**/*") if path.is_file())
    assert int((store.folder / "used").read_text()) == kept


def _write_and_read(folder, budget, offset, queue):
    torch.set_num_threads(1)
    store = FeatureStore(folder, budget)
    group = store.group({"shared": True})
    right = 0
    for step in range(60):
        index = (step + offset) % 30
        expected = [torch.full((500,), float(index))]
        kept = group.read(str(index), "")
        if kept is None:
            group.write(str(index), "", expected)
        else:
            right += same(kept, expected)
            assert same(kept, expected)
    queue.put(right)


@pytest.mark.parametrize("entries", [100, 10])
def test_processes_share_a_store(tmp_path, entries):
    """Both read and write the same names; nothing is torn, and together they keep within the
    space."""
    budget = entries * 2300
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=_write_and_read, args=(tmp_path, budget, 11 * n, queue))
        for n in range(2)
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert all(right > 0 for right in results)
    assert size_of(tmp_path) <= budget
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 30 if entries == 100 else 0 < len(files) <= 10
