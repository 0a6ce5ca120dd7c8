"""The compact LaTeX table: its syntax, its width and its letters."""

import re

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.page.compact_latex import compact_latex

TOKEN = re.compile(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|\\\\|\\[a-zA-Z]+|\\.|[{}&%#_^~$]")


def check(text):
    """Read LaTeX as its own parser does: environments, braces, math and columns are balanced."""
    environments, braces, math, columns = [], 0, False, []
    wide = {len(kinds) for kinds in re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)}
    for match in TOKEN.finditer(re.sub(r"\\begin\{tabular\}\{\w+\}", r"\\begin{tabular}", text)):
        token = match[0]
        if match[1]:
            environments.append(match[1])
        elif match[2]:
            assert environments.pop() == match[2]
        elif token in "{}":
            braces += {"{": 1, "}": -1}[token]
            assert braces >= 0
        elif token == "$":
            math = not math
        elif token == "&":
            columns.append(token)
        elif token == "\\\\":
            assert {len(columns) + 1} == wide
            columns = []
        else:
            assert token.startswith("\\"), f"{token} is not escaped"
    assert not environments
    assert braces == 0
    assert not math
    assert max(wide) <= 7


def study_of(factory, scores, shares=(1.0,)):
    records = [
        factory.record(encoder, value - 0.05 * (1 - share), share, seed)
        for encoder, values in scores.items()
        for seed, value in enumerate(values)
        for share in shares
    ]
    return collect(factory.write(records))


def test_letters_say_what_the_tests_say(factory):
    scores = {"a_1": [0.70, 0.72, 0.74], "b": [0.65, 0.67, 0.691], "c": [0.69, 0.73, 0.72]}
    text = compact_latex(study_of(factory, scores))
    check(text)
    assert r"a\_1 & 72.0 $\pm$ 5.0\textsuperscript{" in text
    rows = dict(re.findall(r"^(a\\_1|b|c) & .*?\\textsuperscript\{(\w+)\}", text, re.MULTILINE))
    assert not set(rows[r"a\_1"]) & set(rows["b"]), "5 points in every seed"
    assert set(rows[r"a\_1"]) & set(rows["c"])


def test_many_shares_leave_seven_columns(factory):
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    text = compact_latex(study_of(factory, {"a": [0.7], "50 % & more": [0.6]}, shares))
    check(text)
    assert r"Encoder & 1 \% & 5 \% & 20 \% & 100 \% & GFLOPs & ms \\" in text
    assert "textsuperscript" not in text, "one seed is no test"


def test_the_report_writes_it(factory, monkeypatch):
    from encoder_ablations.experiments.reporting.page import page

    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    study = study_of(factory, {"a": [0.7], "b": [0.6]})
    files = page.report_of(study)
    assert study.folder / "tables" / "compact.tex" in files.tables
    check((study.folder / "tables" / "compact.tex").read_text(encoding="utf-8"))
