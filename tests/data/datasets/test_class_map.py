import numpy as np
import pytest

from encoder_ablations.data.datasets.class_map import ClassMap, read_class_map, share_classes
from encoder_ablations.utils.errors import InputError

TRAINED = ("sky", "road", "lane", "car", "tree")
TESTED = ("vehicle", "street", "sky", "person")
MAP = {
    "sky": {},
    "road": {"trained": ["road", "lane"], "tested": ["street"]},
    "car": {"tested": ["vehicle"]},
}


def shared_of(content=MAP, trained=TRAINED, tested=TESTED):
    return share_classes(
        None if content is None else ClassMap(shared=content), trained, tested, "map.yaml"
    )


def test_tables():
    shared = shared_of()
    assert shared.names == ("sky", "road", "car")
    assert shared.prediction.tolist() == [0, 1, 1, 2, 3]  # tree: none of the three
    assert shared.truth[:4].tolist() == [2, 1, 0, 255]  # persons are left out
    assert (shared.truth[4:] == 255).all()


def test_folding_merges_classes_and_keeps_other_predictions_as_misses():
    matrix = np.arange(25).reshape(5, 5)
    folded = shared_of().fold(matrix)
    groups = [[0], [1, 2], [3], [4]]
    expected = [
        [sum(matrix[i, j] for i in rows for j in columns) for columns in groups]
        for rows in groups[:3]
    ]
    assert folded.tolist() == [*expected, [0, 0, 0, 0]]


def test_equal_names_need_no_map_in_any_order():
    shared = shared_of(None, ("a", "b", "c"), ("c", "a", "b"))
    assert shared.prediction.tolist() == [0, 1, 2]
    assert shared.truth[:3].tolist() == [2, 0, 1]


BAD = {
    "unknown": (
        {"sky": {"tested": ["ski"]}},
        r"map\.yaml, shared\.sky\.tested: unknown class 'ski'.*mean 'sky'",
    ),
    "no namesake": ({"car": {}}, r"shared\.car\.tested: unknown class 'car'"),
    "twice": (
        {"sky": {}, "top": {"trained": ["sky"], "tested": ["person"]}},
        "the trained class 'sky' stands twice",
    ),
    "no map": (None, r"share only sky \(not road.*--class-map FILE"),
}


@pytest.mark.parametrize("name", BAD)
def test_maps_that_do_not_fit(name):
    content, message = BAD[name]
    with pytest.raises(InputError, match=message):
        shared_of(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shared: {}", "shared"),
        ("share: {sky: {}}", "unknown key 'share'"),
        ("shared: {sky: {tests: [a]}}", "tests"),
    ],
)
def test_files_that_are_no_map(tmp_path, text, message):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_map(path)
