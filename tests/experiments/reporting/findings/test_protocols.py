"""Frozen, adapted and fine-tuned forms of one encoder: compared with each other, never unsaid."""

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.protocols import families, protocols_table
from encoder_ablations.experiments.reporting.findings.ranking import pretraining, ranking
from encoder_ablations.experiments.reporting.page.page import report_of
from encoder_ablations.experiments.reporting.sentences.answer import answer
from encoder_ablations.experiments.reporting.sentences.cautions import warnings
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import gain, gain_headline
from encoder_ablations.experiments.reporting.sentences.protocols import said_of_protocols

FORMS = {
    "frozen": {"freeze": "body", "trainable": 20_000},
    "LoRA of rank 8": {"adapt": {"lora": {"rank": 8}}, "trainable": 250_000},
    "fine-tuned": {"trainable": 3_400_000},
}
SCORES = {"frozen": 0.40, "LoRA of rank 8": 0.46, "fine-tuned": 0.45}


def records_of(factory, forms=FORMS, noise=(0.0, 0.01, -0.01), **options):
    drop = options.pop("drop", 0.0)
    return [
        # the distance to the others differs a little from seed to seed
        factory.record(
            "a", SCORES[name] - drop + extra * (1 + 0.05 * place), seed=seed, **form, **options
        )
        for place, (name, form) in enumerate((name, FORMS[name]) for name in forms)
        for seed, extra in enumerate(noise)
    ]


@pytest.fixture
def study(factory):
    return collect(factory.write(records_of(factory)))


def test_the_forms_of_one_encoder_are_one_family(study):
    (setting,) = study.settings
    (family,) = families(ranking(setting, 1.0))
    assert [each.encoder for each in family] == ["a (frozen)", "a (LoRA of rank 8)", "a"]
    assert family[0].group.network_title == "a"


def test_table_has_score_parameters_and_time_of_each(study):
    table = protocols_table(study)
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert [row["what learns"] for row in rows] == list(FORMS)
    changes = [row["against the first (points)"].partition(" (")[0] for row in rows]
    assert changes == ["", "+6.0", "+5.0"]
    assert [row["trainable"] for row in rows] == ["20.0 k", "250 k", "3.40 M"]
    assert all("±" in row["mIoU (%)"] and row["training (s)"] == "200.0" for row in rows)


def test_sentences_compare_with_the_frozen_form(study):
    told = " ".join(said_of_protocols(study.settings[0]))
    assert "40.0 % frozen" in told
    assert "With LoRA of rank 8, it scores 6.0 points more than frozen" in told
    assert "Fine-tuned, it scores 5.0 points more than frozen" in told
    assert "95 % interval" in told


def test_two_seeds_show_no_more_than_a_sample(factory):
    study = collect(factory.write(records_of(factory, noise=(0.0, 0.01))))
    told = " ".join(said_of_protocols(study.settings[0]))
    assert "2 seeds cannot show more" in told
    assert "95 % interval" not in told


def test_a_ranking_across_protocols_says_so(study):
    (setting,) = study.settings
    headline = answer(setting, Resampling(study), []).headline
    assert "LoRA of rank 8 and fine-tuned" in headline
    assert any("Different parts learn" in text for text in warnings(study))


def test_one_protocol_is_no_family(factory):
    records = records_of(factory, ["frozen"]) + records_of(factory, ["frozen"], weights="random")
    study = collect(factory.write(records))
    assert protocols_table(study).rows == []
    assert said_of_protocols(study.settings[0]) == []
    assert not any("Different parts learn" in text for text in warnings(study))


def test_pretraining_is_compared_within_a_protocol(factory):
    records = records_of(factory) + records_of(factory, weights="random", drop=0.2)
    (setting,) = collect(factory.write(records)).settings
    names = {pair.names for pair in pretraining(setting, 1.0)}
    assert names == {
        ("a", "a (random weights)"),
        ("a (frozen)", "a (random weights, frozen)"),
        ("a (LoRA of rank 8)", "a (random weights, LoRA of rank 8)"),
    }
    # three forms of one network are not three networks
    for told in [*gain_headline(setting), *gain(setting)[:1]]:
        assert "1 network in 3 forms" in told
    assert len(families(ranking(setting, 1.0))) == 2


def test_the_page_shows_the_table_where_there_are_several_forms(study, factory):
    page = report_of(study).page.read_text(encoding="utf-8")
    assert "How much of the encoder should learn?" in page
    assert (study.folder / "tables" / "protocols.csv").exists()
    other = collect(factory.write(records_of(factory, ["frozen"]), "other"))
    assert "How much of the encoder should learn?" not in report_of(other).page.read_text()
