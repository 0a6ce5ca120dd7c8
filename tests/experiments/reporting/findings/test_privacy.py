"""Score against ε: which runs make a curve, and when pretraining saves ε."""

import pytest
from reports import write_report

from encoder_ablations.engine.training.private.statement import PrivacyRecord
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.privacy import (
    privacy_curves,
    privacy_gain,
    privacy_table,
)

LOADED = {1.0: 0.40, 3.0: 0.50, 10.0: 0.60}
RANDOM = {1.0: 0.20, 3.0: 0.35, 10.0: 0.45}


def private(factory, epsilon, miou, seed, **options):
    """A finished private run that spent ``epsilon``."""
    record = factory.record(
        "vit_ti16",
        miou,
        seed=seed,
        privacy={"epsilon": epsilon, **options.pop("of", {})},
        **options,
    )
    spent = PrivacyRecord(
        epsilon=epsilon,
        delta=1e-5,
        accountant="prv",
        noise=1.0,
        clip=1.0,
        rate=0.1,
        steps=400,
        protected="images",
    )
    return record.model_copy(update={"privacy": spent})


def runs(factory, loaded=LOADED, random=RANDOM, seeds=3):
    found = []
    for seed in range(seeds):
        for epsilon, miou in loaded.items():
            found.append(private(factory, epsilon, miou + 0.01 * seed, seed))
        for epsilon, miou in random.items():
            weights = {"weights": "random", "label": "random"}
            found.append(private(factory, epsilon, miou + 0.01 * seed, seed, **weights))
    return found


@pytest.fixture
def study(factory):
    return lambda found: collect(factory.write(found))


def only(curves):
    (found,) = curves
    return found


def test_a_curve_has_every_epsilon_and_no_run_without_privacy(factory, study):
    found = study([*runs(factory), *(factory.record("vit_ti16", 0.9, seed=s) for s in range(3))])
    curves = only(privacy_curves(found))
    assert list(curves.groups["vit_ti16"]) == [1.0, 3.0, 10.0]
    assert curves.best_first == ["vit_ti16", "random"]
    assert len(found.settings) == 4, "private and other runs never share a setting"
    table = privacy_table(found)
    assert len(table.rows) == 6
    row = table.rows[0]
    assert row[1:6] == ["vit_ti16", "100", "1", "1e-05", "41.0"]
    assert row[-1] == "3"
    assert float(row[6]) < 41 < float(row[7])


def test_another_delta_is_another_curve(factory, study):
    others = [private(factory, epsilon, 0.5, 0, of={"delta": 1e-3}) for epsilon in (1.0, 3.0)]
    assert len(privacy_curves(study([*runs(factory), *others]))) == 2


def test_pretraining_saves_epsilon_where_the_curves_meet(factory, study):
    (sentence,) = privacy_gain(only(privacy_curves(study(runs(factory)))))
    # on a line over log ε between 1 (0.40) and 3 (0.50): 0.45 at √3
    assert "epsilon 10 with epsilon about 1.7" in sentence
    assert "saves about 8.3" in sentence
    assert "n=3" in sentence


@pytest.mark.parametrize(
    ("loaded", "random"),
    [
        ({1.0: 0.1, 3.0: 0.2}, RANDOM),
        ({1.0: 0.6}, RANDOM),
        (LOADED, {}),
    ],
    ids=["never reaches it", "one point", "nothing to compare with"],
)
def test_without_curves_that_tell_nothing_is_said(factory, study, loaded, random):
    assert privacy_gain(only(privacy_curves(study(runs(factory, loaded, random))))) == []


def test_the_page_shows_table_figure_and_sentence(factory):
    folder = factory.write(runs(factory))
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "pretraining saves about 8.3" in page
    assert (folder / "figures" / "privacy-1.png").exists()
    assert "1e-05" in (folder / "tables" / "privacy.csv").read_text()


def test_a_study_without_private_runs_has_none_of_it(factory, study):
    found = study([factory.record("vit_ti16", 0.7)])
    assert privacy_curves(found) == []
    assert privacy_table(found).rows == []


def test_a_setting_is_named_by_its_budget(factory, study):
    found = study([*runs(factory, seeds=1), factory.record("vit_ti16", 0.7)])
    titles = [setting.title.partition(" (")[2] for setting in found.settings]
    assert sorted(titles) == [f"privacy={each})" for each in ("eps1", "eps10", "eps3", "none")]
