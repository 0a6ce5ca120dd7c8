import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from encoder_ablations.experiments.reporting.figures.classes import BARS_OF
from encoder_ablations.experiments.reporting.figures.confusion import confusion_figure, row_shares
from encoder_ablations.experiments.reporting.figures.curves import fraction_curves, learning_curves
from encoder_ablations.experiments.reporting.figures.drawing import (
    save_figure,
    style_context,
)
from encoder_ablations.experiments.reporting.figures.results import (
    _figures,
    cost_figure,
    draw_setting,
)
from encoder_ablations.experiments.reporting.figures.styles import encoder_styles
from encoder_ablations.experiments.reporting.figures.training_curves import CROWDED, panel_shares
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.ranking import ranking


@pytest.fixture
def study(factory):
    records = [
        factory.record(e, m + 0.1 * f + 0.01 * s, f, s, weights=w, gflops=g, latency=g)
        for e, w, m, g in (
            ("a", "pretrained", 0.6, 30),
            ("a", "random", 0.3, 30),
            ("b", "pretrained", 0.5, 10),
        )
        for f in (0.1, 1.0)
        for s in (0, 1, 2)
    ]
    return collect(factory.write(records))


def test_every_figure_is_saved_and_embedded(study):
    drawn = draw_setting(
        study.settings[0], encoder_styles(study.groups), study.folder / "figures", "s1"
    )
    assert list(drawn) == [
        "fractions",
        "pretraining",
        "learning",
        "loss",
        "cost",
        "classes",
        "confusion",
    ]
    for name, figure in drawn.items():
        png = (study.folder / "figures" / f"s1-{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert (study.folder / "figures" / f"s1-{name}.pdf").read_bytes().startswith(b"%PDF")
        # the page shows confusion matrices as tables
        assert bool(figure.chart) == (name != "confusion")
        for panel in re.findall(r"<svg class=\"panel\".*?</svg>", figure.chart):
            assert list(ElementTree.fromstring(panel).iter("text")), "text stays text"
    assert drawn["fractions"].alt.endswith(
        "b 52.0 % at 10 % to 61.0 % at 100 %; a (random weights) 32.0 % at 10 % to 41.0 % at 100 %."
    )


def test_same_records_same_bytes(study):
    saved = []
    for folder in (study.folder / "one", study.folder / "two"):
        with style_context():
            figure, alt = fraction_curves(
                study.settings[0], ["a", "b"], encoder_styles(study.groups)
            )
            saved.append(save_figure(figure, folder, "curves", alt))
    assert saved[0] == saved[1]
    for name in ("curves.png", "curves.pdf"):
        assert (study.folder / "one" / name).read_bytes() == (
            study.folder / "two" / name
        ).read_bytes()


def test_curve_shows_means_bands_and_every_seed(study):
    with style_context():
        figure, _ = fraction_curves(study.settings[0], ["a"], encoder_styles(study.groups))
    (axis,) = figure.axes
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[10, 62], [100, 71]])
    np.testing.assert_allclose(np.sort(axis.lines[1].get_ydata()), [61, 62, 63, 70, 71, 72])
    band = axis.collections[0].get_paths()[0].vertices
    half_width = 4.302652729749464 * 1 / np.sqrt(3)
    assert band[:, 1].max() == pytest.approx(71 + half_width)
    assert axis.get_xscale() == "log"


def test_front_joins_what_nothing_beats(study):
    setting = study.settings[0]
    with style_context():
        figure, alt = cost_figure(ranking(setting, 1.0).standings, encoder_styles(study.groups))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[10, 61], [30, 71]])
    assert alt.endswith("higher mean score than these: a, b.")


def test_control_has_the_colour_of_its_network_and_another_dash(study):
    styles = encoder_styles(study.groups)
    assert styles["a"].color == styles["a (random weights)"].color != styles["b"].color
    assert [styles[name].dashed for name in ("a", "a (random weights)", "b")] == [
        False,
        True,
        False,
    ]


def test_confusion_adds_seeds_and_normalises_rows(factory):
    counts = [[[6, 2, 0], [0, 0, 0], [1, 0, 1]], [[2, 0, 0], [0, 0, 0], [0, 2, 4]]]
    records = [
        factory.counted(factory.record("a", seed=seed), matrix)
        for seed, matrix in enumerate(counts)
    ]
    (group,) = collect(factory.write(records)).groups
    expected = [[0.8, 0.2, 0], [np.nan] * 3, [1 / 8, 2 / 8, 5 / 8]]
    np.testing.assert_allclose(row_shares(group), expected)


@pytest.mark.parametrize(("count", "numbered"), [(12, True), (13, False)])
def test_numbers_in_small_matrices_only(factory, count, numbered):
    classes = tuple(f"c{number}" for number in range(count))
    (setting,) = collect(factory.write([factory.record("a", classes=classes)])).settings
    figure, _ = confusion_figure(list(setting.groups), setting)
    assert len(figure.axes[0].texts) == (count**2 if numbered else 0)


def test_names_with_markup(factory):
    records = [factory.record("a", 0.6, label="$\\frac$ <b> & _"), factory.record("b", 0.5)]
    study = collect(factory.write(records))
    drawn = draw_setting(
        study.settings[0], encoder_styles(study.groups), study.folder / "figures", "s1"
    )
    assert "$\\frac$ &lt;b&gt; &amp; _" in drawn["cost"].chart


def test_large_studies_have_some_panels_means_alone_and_the_best_encoders_bars(factory):
    shares = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
    records = [
        factory.record(f"e{number:02}", 0.3 + 0.02 * number, share, seed)
        for number in range(CROWDED + 1)
        for share in shares
        for seed in (0, 1)
    ]
    setting = collect(factory.write(records)).settings[0]
    assert panel_shares(setting) == [0.01, 0.02, 0.1, 0.2, 0.5, 1.0], (
        "six of eight, the ends among them"
    )
    styles = encoder_styles(setting.groups)
    with style_context():
        crowded, _ = learning_curves(setting, setting.encoders, styles)
        few, _ = learning_curves(setting, setting.encoders[:CROWDED], styles)
    assert [bool(axis.collections) for axis in crowded.axes] == [False] * 6
    assert [bool(axis.collections) for axis in few.axes] == [True] * 6
    bars = [alt for name, (_, alt), _ in _figures(setting, styles) if name == "classes"]
    assert len(bars) == 1
    assert f"for the {BARS_OF} best of {CROWDED + 1} encoders" in bars[0]


def test_a_figure_is_drawn_once_for_each_format_and_laid_out_once(study, monkeypatch):
    with style_context():
        figure, alt = fraction_curves(study.settings[0], ["a"], encoder_styles(study.groups))
        drawn, laid_out = [], []
        draw, execute = figure.draw, figure.get_layout_engine().execute
        monkeypatch.setattr(figure, "draw", lambda renderer: (drawn.append(1), draw(renderer)))
        monkeypatch.setattr(
            figure.get_layout_engine(), "execute", lambda fig: (laid_out.append(1), execute(fig))
        )
        save_figure(figure, study.folder / "figures", "curves", alt)
    assert (len(drawn), len(laid_out)) == (3, 1)
