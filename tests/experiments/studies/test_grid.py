"""Which runs a study's YAML means: includes, excludes, own recipes, and where paths are looked
for."""

import pytest
import yaml

from encoder_ablations.experiments.studies.saved_study import (
    read_study,
    resolve_study,
    save_study,
    study_changes,
    study_file,
)
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.config import config_names
from encoder_ablations.utils.errors import InputError

DATASET = {
    "root": "somewhere",
    "classes": ["rock", "sand"],
    "splits": {"train": "train", "val": "val"},
}
STUDY = {
    "name": "grid",
    "encoders": [{"name": "vit_ti16", "label": "vit"}, {"name": "test_resnet", "label": "dark"}],
    "segmenters": ["linear", "mask2former"],
    "datasets": [DATASET | {"name": "moon"}, DATASET | {"name": "mars"}],
    "fractions": [0.1, 1.0],
    "seeds": [0, 1, 2],
    "recipe": {"steps": 10},
}


@pytest.fixture
def load(tmp_path):
    def load(*overrides, **changes):
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes))
        return load_study_spec(str(path), overrides)

    return load


def where(run):
    return run.encoder.title, run.segmenter.name, run.dataset.name, run.fraction, run.seed


def test_the_full_grid_has_every_combination_once(load):
    runs = plan(load())
    assert (
        len({where(run) for run in runs})
        == len({run.run_id for run in runs})
        == len(runs)
        == 2 * 2 * 2 * 2 * 3
    )
    assert [run.encoder.title for run in runs[:4]] == ["vit", "dark", "vit", "dark"], (
        "encoders vary fastest"
    )


def test_exclude_takes_away_what_agrees_with_all_of_an_entry(load):
    runs = plan(
        load(exclude=[{"encoder": "dark", "fraction": 0.1}, {"dataset": ["moon"], "seed": [1, 2]}])
    )
    full = {where(run) for run in plan(load())}
    gone = full - {where(run) for run in runs}
    assert gone == {
        (encoder, segmenter, dataset, fraction, seed)
        for encoder, segmenter, dataset, fraction, seed in full
        if (encoder == "dark" and fraction == 0.1) or (dataset == "moon" and seed in (1, 2))
    }


def test_include_keeps_what_agrees_with_any_entry_and_exclude_comes_after(load):
    runs = plan(
        load(
            include=[{"encoder": "vit", "segmenter": "linear"}, {"seed": 2}],
            exclude=[{"dataset": "mars"}],
        )
    )
    assert {where(run) for run in runs} == {
        each
        for each in (where(run) for run in plan(load()))
        if each[2] == "moon" and ((each[0] == "vit" and each[1] == "linear") or each[4] == 2)
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"exclude": [{"encoder": "darc"}]},
            "exclude.0: encoder 'darc' is not in the study. Did you mean 'dark'?",
        ),
        (
            {"include": [{"seed": 1}, {"seed": [0, 7]}]},
            "include.1: seed '7' is not in the study. It has: 0, 1, 2",
        ),
        ({"include": [{"fraction": 0.5}]}, "fraction '0.5' is not in the study"),
        ({"exclude": [{"dataset": "marz"}]}, "Did you mean 'mars'?"),
        ({"exclude": [{"segmenter": "unet"}]}, "It has: linear, mask2former"),
        ({"exclude": [{}]}, "'exclude.0': says nothing; name at least one of encoder, segmenter"),
        (
            {"exclude": [{"encodr": "vit"}]},
            "unknown key 'exclude.0.encodr'. Did you mean 'encoder'?",
        ),
        ({"exclude": [{"seed": "one"}]}, "exclude.0.seed"),
        ({"exclude": [{"seed": [0, 1, 2]}]}, "exclude leaves none of the 48 runs"),
        (
            {"include": [{"seed": 1}], "exclude": [{"seed": [1, 2]}]},
            "exclude takes back all that include.0 asks for",
        ),
        ({"encoders": []}, "'encoders' needs at least 1 entry"),
        (
            {"encoders": ["vit_ti16", "vit_ti16"]},
            "encoders lists 'vit_ti16' twice. Give one of them a label.",
        ),
        (
            {"encoders": [{"base": "vit_ti16", "recipe": {"stepz": 1}}]},
            "recipe of vit_ti16: unknown key 'stepz'",
        ),
        (
            {"encoders": [{"base": "vit_ti16", "recipe": 3}]},
            "the recipe of vit_ti16 must be a mapping",
        ),
    ],
)
def test_grids_that_make_no_sense_are_one_line(load, changes, message):
    with pytest.raises(InputError) as error:
        plan(load(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_encoder_may_have_a_recipe_of_its_own(load):
    own = {"base": "vit_ti16", "label": "fast", "recipe": {"optimizer": {"lr": 0.01}}}
    runs = plan(load(encoders=[*STUDY["encoders"], own]))
    plain = {run.run_id for run in runs if run.encoder.title != "fast"}
    assert plain == {run.run_id for run in plan(load())}, "the others are the runs that they were"
    for run in runs:
        if run.encoder.title == "fast":
            assert run.recipe.optimizer.lr == 0.01
            assert run.recipe.steps == run.study_recipe.steps == 10
            assert run.study_recipe.optimizer.lr == 0.0001
        else:
            assert run.study_recipe is None
    same = plan(load(encoders=[own | {"recipe": {"steps": 10}}]))
    assert {run.study_recipe for run in same} == {None}, (
        "a recipe that changes nothing is no recipe of its own"
    )


def test_paths_are_looked_for_beside_the_study_then_in_the_current_folder(tmp_path, monkeypatch):
    beside, current = tmp_path / "studies", tmp_path / "current"
    for folder in (beside, current):
        folder.mkdir()
    for folder, name, dataset in (
        (beside, "a", "beside"),
        (current, "a", "not_this"),
        (current, "b", "current"),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(DATASET | {"name": dataset}))
    (beside / "enc.yaml").write_text("{name: vit_ti16, channels: 64}")
    changes = {
        "datasets": ["a.yaml", {"base": "b.yaml"}],
        "encoders": [{"base": "enc.yaml", "label": "x"}],
    }
    (beside / "s.yaml").write_text(yaml.safe_dump(STUDY | changes))
    monkeypatch.chdir(current)
    runs = plan(load_study_spec(str(beside / "s.yaml")))
    assert list(dict.fromkeys(run.dataset.name for run in runs)) == ["beside", "current"]
    assert {run.encoder.channels for run in runs} == {64}
    named = plan(load_study_spec(str(beside / "s.yaml"), ["datasets=[a.yaml]"]))
    assert {run.dataset.name for run in named} == {"not_this"}, (
        "the command line means the current folder"
    )
    with pytest.raises(InputError, match=r"there is no file c\.yaml"):
        plan(load_study_spec(str(beside / "s.yaml"), ["datasets=[c.yaml]"]))


def test_the_resolved_study_plans_the_same_runs(load):
    own = {"base": "clip_b16", "weights": "random", "recipe": {"steps": 20}}
    study = load(
        encoders=[*STUDY["encoders"], own], exclude=[{"encoder": "clip_b16-random", "seed": 1}]
    )
    resolved = resolve_study(study)
    assert [run.run_id for run in plan(resolved)] == [run.run_id for run in plan(study)]
    again = type(study).model_validate(
        yaml.safe_load(yaml.safe_dump(resolved.model_dump(mode="json")))
    )
    assert [run.run_id for run in plan(again)] == [run.run_id for run in plan(study)]
    assert study_changes(again, resolved) == []


def test_changes_between_studies_are_named(load):
    def changes(*overrides, **delta):
        return study_changes(load(), resolve_study(load(*overrides, **delta)))

    assert changes() == []
    assert changes(name="another", seeds=[2, 1, 0]) == [], (
        "neither the name nor the order changes a run"
    )
    assert changes("recipe.steps=20") == ["recipe.steps 10 → 20"]
    assert changes(encoders=STUDY["encoders"][:1]) == ["encoders.dark is gone"]
    relabelled = [STUDY["encoders"][0], STUDY["encoders"][1] | {"channels": 64}]
    assert changes(encoders=relabelled) == ["encoders.dark.channels 256 → 64"]
    assert changes(encoders=[*STUDY["encoders"], "clip_b16"]) == ["encoders.clip_b16 is new"]
    assert changes(exclude=[{"seed": 1}]) == ["exclude [] → [{seed: 1}]"]
    wanted = [
        {"encoder": ["clip_b16", "dark"], "seed": 1},
        {"encoder": "clip_b16", "fraction": 0.1},
    ]
    shown = "[{encoder: [clip_b16, dark], seed: 1}, {encoder: clip_b16, fraction: 0.1}]"
    assert changes(include=wanted) == [f"include [] → {shown}"]
    assert changes(published=[PUBLISHED]) == [], "a published score changes no run"


PUBLISHED = {
    "encoder": "vit",
    "segmenter": "linear",
    "dataset": "moon",
    "miou": 47.3,
    "source": "Oquab 2024",
}


def test_published_scores_are_kept_in_the_resolved_study(load, tmp_path):
    study = load(published=[PUBLISHED])
    save_study(study, tmp_path / "kept")
    (kept,) = read_study(tmp_path / "kept").published
    assert kept.model_dump() == PUBLISHED | {"fraction": 1.0}
    assert [run.run_id for run in plan(study)] == [run.run_id for run in plan(load())]


@pytest.mark.parametrize(
    ("published", "message"),
    [
        (
            [PUBLISHED | {"miou": 0.473}],
            r"'published\.0\.miou': is in percent; write 47\.3, not 0\.473",
        ),
        (
            [PUBLISHED | {"miou": 147}],
            r"'published\.0\.miou': input should be less than or equal to 100",
        ),
        ([PUBLISHED | {"miou": float("nan")}], r"'published\.0\.miou': "),
        ([PUBLISHED | {"source": " "}], r"'published\.0\.source': names nobody; write who"),
        (
            [PUBLISHED | {"scource": "x"}],
            r"unknown key 'published\.0\.scource'\. Did you mean 'source'",
        ),
        (
            [PUBLISHED, PUBLISHED | {"miou": 48}],
            "'published': entries 0 and 1 are both for vit, linear, moon",
        ),
        (
            [PUBLISHED | {"encoder": "vti"}],
            r"published\.0: encoder 'vti' is not in the study\. Did you mean 'vit'",
        ),
        (
            [PUBLISHED | {"dataset": "venus"}],
            r"published\.0: dataset 'venus' is not in the study.* moon, mars",
        ),
        ([PUBLISHED | {"fraction": 0.5}], r"published\.0: fraction '0\.5' is not in the study"),
    ],
)
def test_published_scores_that_make_no_sense(load, published, message):
    with pytest.raises(InputError, match=message):
        plan(load(published=published))


def test_the_published_scores_of_our_studies_belong_to_their_runs():
    trained = [name for name in config_names("studies") if not name.startswith("zero_shot_")]
    found = {name: load_study_spec(name).published for name in trained}
    assert {(name, score.miou) for name, scores in found.items() for score in scores} == {
        ("ade20k_linear_probe", 47.3),
        ("voc2012_linear_probe", 82.5),
    }
    for name in ("ade20k_linear_probe", "voc2012_linear_probe"):
        plan(load_study_spec(name))


@pytest.mark.parametrize(
    "content", [b"encoders: [", b"\xff", b"- a", b"name: kept\n", b"published: 5\n", b"a: &a [*a]"]
)
def test_a_damaged_study_in_an_output_folder_says_how_to_go_on(tmp_path, content):
    study_file(tmp_path).write_bytes(content)
    with pytest.raises(InputError, match=r"study\.yaml.*--output .* --extend") as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_privacy_is_an_axis(load):
    runs = plan(load(privacy=["none", {"epsilon": 10}, {"noise": 1.5, "clip": 0.5}]))
    plain = plan(load())
    assert len(runs) == 3 * len(plain)
    assert runs[: len(plain)] == plain, "the runs without privacy are those of any other study"
    found = dict.fromkeys(run.recipe.privacy for run in runs)
    assert [each and (each.epsilon, each.noise, each.clip) for each in found] == [
        None,
        (10, None, 1.0),
        (None, 1.5, 0.5),
    ]
    assert {run.study_recipe for run in runs} == {None}, "settings differ in the recipe itself"
    assert len({run.run_id for run in runs}) == len(runs)


def test_an_encoders_own_recipe_keeps_the_privacy_of_the_level(load):
    encoders = [{"name": "vit_ti16", "recipe": {"optimizer": {"lr": 0.01}}}, "darknet_tiny"]
    runs = plan(load(encoders=encoders, privacy=["none", {"epsilon": 3}]))
    own = [run for run in runs if run.study_recipe is not None]
    assert {run.recipe.privacy for run in own} == {run.study_recipe.privacy for run in own}
    assert len({run.recipe.privacy for run in own}) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy": [{"epsilon": 3}, {"epsilon": 3}]}, "privacy lists.*twice"),
        ({"privacy": ["off"]}, "privacy"),
        ({"privacy": []}, "privacy.*at least 1"),
        (
            {"privacy": ["none"], "recipe": {"steps": 10, "privacy": {"epsilon": 3}}},
            "privacy stands in the recipe, too",
        ),
        (
            {"privacy": [{"epsilon": 3}], "recipe": {"steps": 10, "accumulation": 2}},
            "accumulation does not go with privacy",
        ),
        (
            {"encoders": [{"name": "vit_ti16", "recipe": {"privacy": {"epsilon": 3}}}]},
            "privacy of its own",
        ),
    ],
    ids=str,
)
def test_an_axis_that_is_not_one(load, changes, words):
    with pytest.raises(InputError, match=words):
        plan(load(**changes))
