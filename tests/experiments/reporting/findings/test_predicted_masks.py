"""Arms with predicted masks beside the same training without, with records of known scores."""

import pytest
from reports import write_report

from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.labels.predicted_masks import (
    predicted_masks_table,
    taught_arms,
)
from encoder_ablations.experiments.reporting.sentences.predicted_masks import said_of_teachers
from encoder_ablations.experiments.reporting.text.teachers import arm_names
from encoder_ablations.experiments.runs.record_parts import PseudoLabelsRecord

TEACHER = "vit-a-zero-shot-naclip-mars-0pct-seed0-0123456789"


def labels(run_id=TEACHER, threshold=0.7, **changes):
    return PseudoLabelSpec(
        run_id=run_id, checkpoint_sha256="a" * 64, threshold=threshold, **changes
    )


def with_masks(record, spec, kept=0.8):
    """The record of a run that learned from predicted masks, too."""
    own = record.spec.model_copy(update={"pseudo_labels": spec})
    masks = PseudoLabelsRecord(n_images=190, share_of_pixels=kept, masks_sha256="b" * 64)
    data = record.data.model_copy(update={"pseudo_labels": masks})
    changes = {"spec": own, "run_id": own.run_id, "data": data}
    return record.model_copy(update=changes)


@pytest.fixture
def write(factory):
    """write(gains, seeds) -> a study of one arm without a teacher and one for each gain."""

    def written(gains=(0.05,), seeds=3, fraction=0.05):
        records = []
        for seed in range(seeds):
            plain = factory.record("vit-a", 0.5 + 0.02 * seed, fraction, seed)
            records.append(plain)
            for number, gain in enumerate(gains):
                score = 0.5 + 0.02 * seed + gain + 0.001 * seed
                learned = factory.record("vit-a", score, fraction, seed)
                records.append(with_masks(learned, labels(threshold=0.7 + 0.1 * number)))
        return factory.write(records)

    return written


def names_of(factory, *specs, encoder="vit-a"):
    runs = [factory.spec(encoder, 0.05, 0).model_copy(update={"pseudo_labels": s}) for s in specs]
    return list(arm_names(runs).values())


def test_arms_are_named_by_the_teachers_head_and_threshold(factory):
    chosen = labels(threshold="val", precision=0.9)
    trained = labels(run_id="vit-a-linear-mars-5pct-seed0-0123456789")
    other = labels(run_id="clip-b16-zero-shot-sclip-mars-0pct-seed0-0123456789")
    odd = labels(run_id="my-run")
    assert names_of(factory, None, labels(), chosen, trained, other, odd) == [
        "no predicted masks",
        "masks by zero_shot naclip ≥ 0.7",
        "masks by zero_shot naclip with precision ≥ 0.9 on val",
        "masks by linear (5 %) ≥ 0.7",
        "masks by clip-b16-zero-shot-sclip ≥ 0.7",
        "masks by my-run ≥ 0.7",
    ]


def test_two_teachers_never_share_a_name(factory):
    first, second = names_of(factory, labels(), labels(TEACHER.replace("0123", "9999")))
    assert first != second
    assert "0123456789" in first


def test_settings_have_short_names_and_stay_apart(write):
    settings = collect(write(gains=(0.05, -0.05))).settings
    assert len(settings) == 3
    for setting in settings:
        assert "0pct" not in setting.title
        assert "pseudo_labels=" not in setting.title


def test_every_teacher_stands_beside_the_arm_without(write):
    better, worse = taught_arms(collect(write(gains=(0.05, -0.05))))
    assert (better.name, worse.name) == (
        "masks by zero_shot naclip ≥ 0.7",
        "masks by zero_shot naclip ≥ 0.8",
    )
    # differences 0.05, 0.051, 0.052: the interval of the paired t test
    over = better.against.difference.over
    assert over.mean == pytest.approx(0.051)
    assert over.half_width == pytest.approx(4.3027 * 0.001 / 3**0.5, rel=1e-3)
    assert better.against.holds
    assert worse.against.mean == pytest.approx(-0.049)
    # two arms are tested, so each p is corrected for two
    assert better.against.p == pytest.approx(2 * better.against.difference.p)


def test_sentences_and_table_give_the_difference(write):
    study = collect(write(gains=(0.05, -0.05)))
    more, less = said_of_teachers(study)
    assert "5.1 points more" in more
    assert "95 % interval" in more
    assert "4.9 points less" in less
    table = predicted_masks_table(study)
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert row["difference (points)"].startswith("+5.1 (")
    assert (row["pixels kept (%)"], row["seeds"], row["teacher"]) == ("80.0", "3", TEACHER)


def test_few_seeds_make_no_claim(write):
    (told,) = said_of_teachers(collect(write(seeds=1)))
    assert "small sample" in told
    assert "95 %" not in told


def test_arms_of_other_fractions_and_without_partner_are_not_compared(factory):
    learned = with_masks(factory.record("vit-a", 0.6, 0.05), labels())
    elsewhere = factory.record("vit-a", 0.7, 0.5)
    assert taught_arms(collect(factory.write([learned, elsewhere]))) == []


def test_the_page_compares_arms(write):
    files = write_report(write())
    page = files.page.read_text()
    assert "Do predicted masks help?" in page
    assert "5.1 points more" in files.headlines[-1]
    # the arm with a teacher has something to be compared with
    told = [headline for headline in files.headlines if "no other encoder" in headline]
    assert len(told) == 1
    assert "predicted masks" not in told[0].partition(" (")[0]
    assert TEACHER in page
