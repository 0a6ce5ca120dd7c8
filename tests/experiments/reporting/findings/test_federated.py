"""Federated training in the report: against central training, and against each client alone."""

import pytest
from reports import write_report

from encoder_ablations.engine.training.federated.record import ClientRecord, FederationRecord
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.federated import federated, federated_table
from encoder_ablations.experiments.reporting.sentences.federated import said_of_federation

FEDAVG = {"clients": 2, "rounds": 10, "partition": "scenes"}
ALONE = {"clients": 2, "partition": "scenes"}


@pytest.fixture
def record(factory):
    """Return a record with a federation; the losses of its two clients end at 0.5 and 0.7."""

    def record(encoder, miou, seed, federation=None, **options):
        central = factory.record(encoder, miou, seed=seed, **options)
        if federation is None:
            return central
        spec = central.spec.model_copy(update={"federation": FederationSpec(**federation)})
        losses = ([1.0, 0.5], [0.9, 0.7]) if "rounds" in federation else ([], [])
        parts = zip((150, 50), losses, strict=True)
        clients = [
            ClientRecord(images=images, class_pixels=[1, 1, 1], ids_sha256="x", loss=loss)
            for images, loss in parts
        ]
        sent = [2_000_000, 2_000_000] if "rounds" in federation else []
        found = FederationRecord(
            partition_sha256="x", clients=clients, bytes_up=sent, bytes_down=sent
        )
        changes = {"spec": spec, "run_id": spec.run_id, "federation": found}
        return central.model_copy(update=changes)

    return record


def local(client, **changes):
    return {**ALONE, "algorithm": {"kind": "local", "client": client}, **changes}


@pytest.fixture
def study(factory, record):
    """Pretraining loses less in a federation; one client of a seed has not trained alone."""
    records = []
    for weights, central, lost in (("pretrained", 0.7, 0.02), ("random", 0.5, 0.1)):
        label = f"vit {weights}"
        options = {"weights": weights, "label": label}
        for seed in range(3):
            score = central + 0.01 * seed
            records += [
                record("vit", score, seed, **options),
                record("vit", score - lost + 0.002 * seed, seed, FEDAVG, **options),
                record("vit", score - 0.2, seed, local(0), **options),
            ]
            if seed < 2:
                records.append(record("vit", score - 0.3, seed, local(1), **options))
        # clients of another partition are others
        records.append(record("vit", 0.9, 2, local(1, partition="iid"), **options))
    return collect(factory.write(records))


def test_federated_central_and_alone_are_paired_by_seed(study):
    pretrained, random = federated(study)
    assert (pretrained.encoder, random.encoder) == ("vit pretrained", "vit random")
    assert pretrained.against_central.over.mean == pytest.approx(-0.018, abs=1e-6)
    assert pretrained.against_central.over.n == 3
    assert random.against_central.over.mean == pytest.approx(-0.098, abs=1e-6)
    assert pretrained.alone.keys() == {0, 1}
    assert pretrained.mean_alone[0] == pytest.approx(0.45, abs=1e-6)
    assert pretrained.worst_alone.mean == pytest.approx(0.405, abs=1e-6)
    assert pretrained.against_alone.over.mean == pytest.approx(0.25 - 0.02 + 0.001, abs=1e-6)


def test_the_table_has_a_row_for_each_encoder(study):
    table = federated_table(study)
    first, second = table.rows
    row = dict(zip(table.header, first, strict=True))
    assert row["federation"] == "fedavg 2 clients scenes 10 rounds"
    assert row["federated (mIoU %)"].startswith("69.2")
    assert row["central (%)"].startswith("71.0")
    # differences of -2.0, -1.8 and -1.6: half the interval is 4.303 * 0.2 / sqrt(3)
    assert row["federated − central (points)"] == "−1.8 (−2.3 to −1.3)"
    assert row["worst client's loss"] == "0.700 (client 1, 50 images)"
    assert row["sent per round"] == "4.00 MB"
    assert second[1] == "vit random"


def test_the_sentences_say_whether_pretraining_narrows_the_gap(study):
    told = said_of_federation(study)
    assert len(told) == 3
    assert "vit pretrained scores 69.2 %" in told[0]
    assert "1.8 points less than in central training" in told[0]
    assert "worst scores 40.5 %" in told[0]
    assert told[2].startswith("Pretraining narrows the gap")
    assert "+8.0" in told[2]


def test_the_seeds_may_not_show_it(factory, record):
    records = []
    for weights, lost in (("pretrained", (0.1, 0.0, 0.05)), ("random", (0.0, 0.1, 0.06))):
        for seed in range(3):
            options = {"weights": weights, "label": weights}
            records.append(record("vit", 0.6, seed, **options))
            records.append(record("vit", 0.6 - lost[seed], seed, FEDAVG, **options))
    told = said_of_federation(collect(factory.write(records)))
    assert told[-1].startswith("The seeds do not show")


def test_the_page_shows_it_and_clients_alone_are_no_setting(study):
    titles = [setting.title for setting in study.settings]
    assert len(titles) == 2
    assert any("federation=central" in title for title in titles)
    page = write_report(study.folder).page.read_text()
    assert "Pretraining narrows the gap" in page
    assert "fedavg 2 clients scenes 10 rounds" in page


def test_a_study_without_clients_says_nothing(factory):
    study = collect(factory.write([factory.record("a", 0.5)]))
    assert federated_table(study).rows == []
    assert said_of_federation(study) == []
    assert 'id="federated"' not in write_report(study.folder).page.read_text()


def test_clients_alone_without_a_federation_are_compared_like_any_runs(factory, record):
    study = collect(
        factory.write([record("vit", 0.5, 0, local(0)), record("vit", 0.6, 0, local(1))])
    )
    assert len(study.settings) == 2


def test_a_wider_gap_has_a_negative_interval(factory, record):
    """The gap is 5.0 points wider with loaded weights, by 4.8, 5.0 and 5.2 points."""
    records = []
    for weights, lost in (("pretrained", (0.098, 0.1, 0.102)), ("random", (0.05, 0.05, 0.05))):
        for seed in range(3):
            options = {"weights": weights, "label": weights}
            records.append(record("vit", 0.6, seed, **options))
            records.append(record("vit", 0.6 - lost[seed], seed, FEDAVG, **options))
    told = said_of_federation(collect(factory.write(records)))
    assert told[-1].startswith("Pretraining widens the gap")
    assert "−5.0 (95 % interval −5.5 to −4.5)" in told[-1]
