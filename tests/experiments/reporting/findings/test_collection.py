import json

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import save_record
from encoder_ablations.utils.errors import InputError


def test_groups_are_runs_that_differ_in_the_seed_only(factory):
    records = [factory.record(e, 0.5, f, s) for e in ("a", "b") for f in (0.1, 1.0) for s in (0, 1)]
    records.append(factory.failure("b", 1.0, 2))
    study = collect(factory.write(records))
    (setting,) = study.settings
    assert (setting.title, setting.encoders, setting.fractions) == (
        "mars · linear",
        ["a", "b"],
        [0.1, 1.0],
    )
    assert [(g.encoder, g.fraction, g.seeds, len(g.failed)) for g in study.groups] == [
        ("a", 0.1, [0, 1], 0),
        ("a", 1.0, [0, 1], 0),
        ("b", 0.1, [0, 1], 0),
        ("b", 1.0, [0, 1], 1),
    ]


def test_another_recipe_is_another_setting(factory):
    folder = factory.write([factory.record("a", 0.5), factory.record("a", 0.9, steps=800)])
    titles = [setting.title for setting in collect(folder).settings]
    assert titles == ["mars · linear (recipe.steps=400)", "mars · linear (recipe.steps=800)"]


def test_equal_labels_of_different_encoders_are_told_apart(factory):
    folder = factory.write(
        [factory.record("a", 0.5, label="best"), factory.record("b", 0.6, label="best")]
    )
    assert sorted(collect(folder).titles.values()) == ["best (name=a)", "best (name=b)"]


def test_reference_is_the_largest_fraction_with_two_results(factory):
    records = [
        factory.record("a", 0.5, 0.5),
        factory.record("b", 0.5, 0.5),
        factory.record("a", 0.6, 1.0),
    ]
    folder = factory.write([*records, factory.failure("b", 1.0)])
    assert collect(folder).settings[0].reference == 0.5


def test_control_shares_its_architecture(factory):
    records = [factory.record("a"), factory.record("a", weights="random"), factory.record("b")]
    groups = {group.encoder: group for group in collect(factory.write(records)).groups}
    assert (
        groups["a"].architecture
        == groups["a (random weights)"].architecture
        != groups["b"].architecture
    )
    assert [groups[name].random_weights for name in ("a", "a (random weights)", "b")] == [
        False,
        True,
        False,
    ]


def test_no_records_says_where_and_what_to_do(factory):
    with pytest.raises(InputError, match=r"no run records in .*nowhere.*ablate run"):
        collect(factory.folder / "nowhere")


def test_no_records_names_studies_below(factory):
    factory.write([factory.record("a")], "mine")
    with pytest.raises(InputError, match="Studies in that folder: mine"):
        collect(factory.folder)


def test_started_but_unfinished_runs(factory):
    (factory.folder / "study" / "runs" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="1 run was started there"):
        collect(factory.folder / "study")
    assert collect(factory.write([factory.record("a")])).unfinished == ("x",)


def test_other_schema_is_an_input_error(factory):
    folder = factory.write([factory.record("a")])
    path = next(folder.glob("runs/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(InputError, match="schema version 99"):
        collect(folder)
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {key: content[key] for key in content if key not in ("schema_version", "checksum")}
        )
    )
    with pytest.raises(InputError, match="schema version None"):
        collect(folder)


def test_copied_run_folder_is_not_counted_twice(factory):
    record = factory.record("a")
    folder = factory.write([record])
    save_record(record, folder / "runs" / "copy")
    study = collect(folder)
    assert len(study.records) == 1
    assert "copy/record.json is the record of another run, a-linear-mars" in study.damaged[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "is damaged"),
        ("older", "schema version 0"),
        ("edited", "was edited after it was written"),
    ],
)
def test_one_bad_record_is_named_and_the_others_are_read(factory, damage, message):
    bad, good = factory.record("a", 0.5), factory.record("b", 0.6)
    folder = factory.write([bad, good])
    path = folder / "runs" / bad.run_id / "record.json"
    content = json.loads(path.read_text())
    if damage == "truncated":
        path.write_text(path.read_text()[:500])
    elif damage == "older":
        path.write_text(json.dumps(content | {"schema_version": 0}))
    else:
        content["metrics"]["miou"] = 0.9
        path.write_text(json.dumps(content))
    study = collect(folder)
    assert [record.run_id for record in study.records] == [good.run_id]
    (line,) = study.damaged
    assert message in line
    assert str(path) in line
    assert "\n" not in line


def test_flatten():
    assert flatten({"a": {"b": [1, 2]}, "c": None}) == {"a.b.0": 1, "a.b.1": 2, "c": None}


def test_runs_whose_batch_norm_saw_other_numbers_of_images_are_not_compared(factory):
    """Not even when one encoder alone has a BatchNorm that learns; a failed run stays with those
    of its model.
    """
    whole = [factory.record("vit-a", seed=seed) for seed in (0, 1)]
    parts = [
        factory.record("darknet", seed=seed).model_copy(update={"images_per_statistic": 4})
        for seed in (0, 1)
    ]
    failed = factory.failure("darknet", seed=2)
    study = collect(factory.write([*whole, *parts, failed]))
    encoders = {setting.title: setting.encoders for setting in study.settings}
    assert encoders == {
        "mars · linear (images_per_statistic=4)": ["darknet"],
        "mars · linear (images_per_statistic=None)": ["vit-a"],
    }
    assert [len(group.failed) for group in study.groups] == [1, 0]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "a"),
        ({"weights": "random"}, "a (random weights)"),
        ({"weights": "random", "freeze": "body"}, "a (random weights, frozen)"),
        ({"weights": "random", "label": "From scratch"}, "From scratch"),
    ],
)
def test_encoders_are_named_in_words(factory, options, name):
    study = collect(factory.write([factory.record("a", **options)]))
    assert set(study.titles.values()) == {name}
