"""Tables of rank stability, label efficiency, training targets and of what pretraining buys."""

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.efficiency_tables import (
    efficiency_table,
    target_table,
)
from encoder_ablations.experiments.reporting.findings.rank_stability import (
    across,
    deviations_table,
    stability_table,
)
from encoder_ablations.experiments.reporting.page.tables import pretraining_table
from encoder_ablations.experiments.runs.record_parts import CurvesRecord


def study(factory, seeds=3, **options):
    means = {"a": 0.7, "b": 0.6, "c": 0.5}
    records = [
        factory.record(
            encoder, mean - (0.2 if fraction == 0.1 else 0) + noise, fraction, seed, **options
        )
        for encoder, mean in means.items()
        for fraction in (0.1, 1.0)
        for seed, noise in zip(range(seeds), (0.001, -0.001, 0.0005), strict=False)
    ]
    return records


def test_rankings_between_fractions_and_seeds(factory):
    table = stability_table(collect(factory.write(study(factory))))
    assert [row[1:] for row in table.rows] == [
        ["two single seeds, at 100 %", "1.00", "1.00 to 1.00", "3", "3"],
        ["100 % and 10 % of the images", "1.00", "1.00 to 1.00", "3", "3"],
    ]


def test_two_seeds_have_tau_without_interval(factory):
    rows = stability_table(collect(factory.write(study(factory, 2)))).rows
    assert [row[2:4] for row in rows] == [["1.00", ""], ["1.00", ""]]


def test_rankings_between_datasets(factory):
    records = [*study(factory), *study(factory, dataset="moon")]
    (row,) = across(stability_table(collect(factory.write(records)))).rows
    assert row[:4] == [
        "mars · linear / moon · linear",
        "datasets mars and moon",
        "1.00",
        "1.00 to 1.00",
    ]


def test_deviation_of_seeds(factory):
    records = [
        factory.record("a", value, seed=seed) for seed, value in enumerate([0.70, 0.72, 0.71])
    ]
    (row,) = deviations_table(collect(factory.write(records))).rows
    assert row[1:] == ["a", "1.00", "0.52 to 6.28", "3"]


def test_what_pretraining_buys(factory):
    values = {"pretrained": [0.70, 0.72, 0.74], "random": [0.65, 0.66, 0.70]}
    records = [
        factory.record("a", v, seed=s, weights=w)
        for w, vs in values.items()
        for s, v in enumerate(vs)
    ]
    (row,) = pretraining_table(collect(factory.write(records))).rows
    assert row[1:] == ["a", "100", "+5.0", "+2.5", "+7.5", "95 % interval", "3", "2.86", "0.0131"]


def test_share_of_the_images_with_its_interval(factory):
    rows = efficiency_table(collect(factory.write(study(factory)))).rows
    assert [row[1:3] for row in rows] == [["a", "b"], ["a", "c"]]
    first, second = rows
    assert float(first[4]) == pytest.approx(
        100 * 10**-0.5, rel=0.02
    )  # 0.6, halfway between 0.5 and 0.7
    low, _, high = first[5].partition(" to ")
    assert float(low) <= float(first[4]) <= float(high)
    assert second[4] == "at most 10" or float(second[4]) == pytest.approx(10, rel=0.05)


def test_training_until_the_same_score(factory):
    def curve(values):
        return CurvesRecord(loss_steps=[], loss=[], val_steps=[100, 200], val_score=values)

    slow, fast = factory.record("a", 0.5), factory.record("b", 0.6)
    records = [
        slow.model_copy(
            update={"curves": curve([0.375, 0.575])}
        ),  # the target, 0.475, is crossed halfway
        fast.model_copy(update={"curves": curve([0.475, 0.6])}),
    ]
    rows = target_table(collect(factory.write(records))).rows
    assert [row[1:] for row in rows] == [
        ["b", "47.5", "100", "8.0", "1 of 1"],
        ["a", "47.5", "150", "12.0", "1 of 1"],
    ]
    never = slow.model_copy(update={"curves": curve([0.1, 0.2])})
    rows = target_table(collect(factory.write([never, records[1]]))).rows
    assert rows[-1][1:] == ["a", "47.5", "–", "–", "0 of 1"]


def test_two_encoders_have_no_tau(factory):
    records = [record for record in study(factory) if record.spec.encoder.name != "c"]
    assert stability_table(collect(factory.write(records))).rows == []
