"""The page in a real browser: nothing is cut off, and what the script adds works."""

import re
import subprocess
from pathlib import Path

import pytest
from browser import BROWSER, browse
from reports import write_report
from simulated_study import Size, write_simulated_study

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.text import formats

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

PROBE = (Path(__file__).parent / "probe.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(module_study):
    return write_report(module_study).page


@pytest.fixture(scope="module")
def module_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "simulated"
    write_simulated_study(folder, Size(encoders=4, fractions=2, seeds=3))
    return folder


DARK = "--blink-settings=preferredColorScheme=0"


@pytest.fixture(scope="module", params=[(1440,), (1024, DARK), (420,), (420, DARK)], ids=str)
def found(request, page, tmp_path_factory):
    """What the probe finds at one width, in light or dark."""
    return browse(
        page, tmp_path_factory.mktemp("browsed"), request.param[0], PROBE, *request.param[1:]
    )


def test_nothing_is_cut_off(found):
    assert found["page"] <= found["width"], "the page does not scroll sideways"
    assert found["wide"] == [], "figures and the ranking fit into the page"
    assert found["overlaps"] == [], "texts below an axis do not touch"
    assert found["letters"] > 9, "pixels"


def test_readers_who_see_little_or_use_the_keyboard_miss_nothing(found):
    assert found["pale"] == [], "text has a contrast of 4.5"
    assert found["unnamed"] == []
    assert found["twice"] == [], "ids"
    assert found["unreachable"] == []
    assert found["outOfOrder"] == 0, "the keyboard goes from the top to the bottom"
    assert "of the images" in found["byKeys"] or "%" in found["byKeys"]


def test_scripts_work(found):
    assert found["hovered"] == found["marked"], "the value under the pointer"
    assert found["sortedDown"] != found["sortedUp"]
    assert found["aria"] == "ascending"
    assert found["opened"]
    assert found["closed"]
    assert found["focus"]
    assert found["hiddenSeries"]
    assert found["shownAgain"]


def test_filters_recompute_ranks_and_distances(found, module_study):
    """Without the first encoder, the others are compared with the second one, as Python does it."""
    (setting,) = collect(module_study).settings
    expected = []
    for share in reversed(setting.fractions):
        first, *others = [
            standing
            for standing in ranking(setting, share).standings
            if standing.encoder != found["removed"]
        ]
        expected.append([first.encoder, "1", "", ""])
        for rank, other in enumerate(others, start=2):
            pair = ranking(setting, share).pair(first, other)
            texts = [formats.points(-pair.mean), formats.behind(pair.difference.over)]
            expected.append([other.encoder, str(rank), *texts])
    assert found["recomputed"] == expected


def test_prints(page, tmp_path):
    target = tmp_path / "page.pdf"
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    subprocess.run(
        [*command, f"--print-to-pdf={target}", page.as_uri()],
        check=True,
        timeout=120,
        capture_output=True,
    )
    assert target.read_bytes().startswith(b"%PDF")
    pages = re.findall(rb"/Type\s*/Page\b", target.read_bytes())
    assert 1 < len(pages) <= 10
