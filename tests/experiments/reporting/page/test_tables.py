import csv
import io

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.page.tables import TABLES, Table, write_tables


def write(folder):
    study = collect(folder)
    made = {name: make(study) for name, make in TABLES.items()}
    write_tables(study, made, Resampling(study), [])


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_runs_csv_has_every_run_with_everything(factory):
    done = factory.record("a", 0.7, 0.5, 3, gflops=20, latency=30)
    folder = factory.write([done, factory.failure("b", message="no memory\nleft")])
    write(folder)
    finished, failed = read(folder / "runs.csv")
    assert (finished["encoder"], finished["fraction"], finished["seed"], finished["status"]) == (
        "a",
        "0.5",
        "3",
        "finished",
    )
    assert float(finished["metrics.miou"]) == done.metrics.miou == pytest.approx(0.7)
    assert float(finished["metrics.per_class_iou.crater"]) == done.metrics.per_class_iou["crater"]
    assert finished["cost.flops"] == "20000000000"
    assert finished["cost.latency_ms.batch_1.median"] == "30.0"
    assert finished["cost.parameters.trainable"] == "1200000"
    assert finished["data.train_ids_sha256"] == done.data.train_ids_sha256
    assert finished["convergence.step_to_95_percent"] == "320"
    assert finished["spec.recipe.optimizer.lr"] == "0.0001"
    assert (failed["status"], failed["error.type"], failed["error.message"]) == (
        "failed",
        "RuntimeError",
        "no memory left",
    )
    assert failed["metrics.miou"] == ""


def test_ranking_numbers(factory):
    records = [factory.record("a", m, seed=s) for s, m in enumerate([0.70, 0.72, 0.71])]
    folder = factory.write([*records, factory.record("b", 0.8), factory.failure("b", seed=1)])
    write(folder)
    first, second = read(folder / "tables" / "ranking.csv")
    assert (first["encoder"], first["mIoU (%)"], first["n"], first["failed"], first["spread"]) == (
        "b",
        "80.0",
        "1",
        "1",
        "",
    )
    assert (second["mIoU (%)"], second["low (%)"], second["high (%)"]) == (
        "71.0 ± 2.5",
        "68.52",
        "73.48",
    )
    assert (second["parameters (M)"], second["GFLOPs"], second["latency (ms)"]) == (
        "86.57",
        "20.00",
        "30.00",
    )


def test_differences(factory):
    records = [factory.record("a", m, seed=s) for s, m in enumerate([0.70, 0.72, 0.74])]
    records += [factory.record("b", m, seed=s) for s, m in enumerate([0.65, 0.66, 0.70])]
    folder = factory.write(records)
    write(folder)
    (row,) = read(folder / "tables" / "differences.csv")
    assert [row[key] for key in ("first", "second", "low", "high", "wins", "p (Holm)")] == [
        "a",
        "b",
        "+2.5",
        "+7.5",
        "3 of 3",
        "0.0131",
    ]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_what_pretraining_buys_is_written_as_any_difference(factory, seeds):
    values = {"pretrained": [0.70, 0.72, 0.74], "random": [0.65, 0.66, 0.70]}
    records = [
        factory.record("a", v[s], seed=s, weights=weights)
        for weights, v in values.items()
        for s in range(seeds)
    ]
    folder = factory.write(records)
    write(folder)
    (pair,), (gain,) = (
        read(folder / "tables" / f"{name}.csv") for name in ("differences", "pretraining")
    )
    shared = ["fraction (%)", "low", "high", "spread", "effect size (g)", "p (Holm)"]
    assert [gain[key] for key in shared] == [pair[key] for key in shared]
    assert gain["gain (points)"] == pair["first - second (points)"]
    assert [gain["spread"], gain["n"], pair["wins"]] == [
        ["", "range", "95 % interval"][seeds - 1],
        str(seeds),
        f"{seeds} of {seeds}",
    ]
    assert (gain["low"] == "", gain["p (Holm)"] == "") == (seeds == 1, seeds < 3)


def test_every_class_of_every_encoder(factory):
    folder = factory.write([factory.record("a", 0.7), factory.record("b", 0.5)])
    write(folder)
    rows = read(folder / "tables" / "per_class.csv")
    assert [(row["class"], row["encoder"], row["IoU (%)"]) for row in rows[:3]] == [
        ("background", "a", "78.0"),
        ("background", "b", "58.0"),
        ("crater", "a", "70.0"),
    ]


def test_special_characters_are_escaped():
    table = Table("50 % & more_", ["name", "x"], [["<b>a|b_c\\$", "1 ± 2"]])
    assert table.csv() == "name,x\n<b>a|b_c\\$,1 ± 2\n"
    assert table.markdown().splitlines() == [
        "| name | x |",
        "| --- | ---: |",
        r"| &lt;b&gt;a\|b_c\$ | 1 ± 2 |",
    ]
    latex = table.latex()
    assert r"\caption{50 \% \& more\_}" in latex
    assert r"\textless{}b\textgreater{}a|b\_c\textbackslash{}\$ & 1 $\pm$ 2 \\" in latex
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"\begin{tabular}{lr}" in latex


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1"]
NUMBERS = ["-0.5", "+1.25", "-1e-05", "-1.5 ± 0.3", "7"]


def test_csv_holds_values_and_no_formulas():
    table = Table("names", ["name", "=header"], [[name, -0.5] for name in FORMULAS + NUMBERS])
    header, *rows = csv.reader(io.StringIO(table.csv()))
    assert header == ["name", "'=header"]
    assert all(name.startswith("'") for name, _ in rows[: len(FORMULAS)])
    assert [name for name, _ in rows[len(FORMULAS) :]] == NUMBERS
    assert {number for _, number in rows} == {"-0.5"}


def test_every_cell_is_one_printable_line():
    """Also the name of a file that is no text."""
    table = Table("names", ["name", "n"], [["a\nb\x1b[31m\u202ec\udcff", "1"]])
    for text in (table.csv(), table.markdown(), table.latex()):
        row = next(line for line in text.splitlines() if "a b" in line)
        assert "a b�" in row
        assert not set(row) & {"\x1b", "\u202e", "\udcff"}
