"""The page in a real browser: nothing is cut off, and what the script adds works."""

import json
import re
import shutil
import subprocess

import pytest
from simulated_study import Size, write_simulated_study

from encoder_ablations.experiments.reporting.page.page import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")

PROBE = """
<script>
(() => {
const found = {};
const across = document.documentElement.clientWidth;
found.width = across;
found.page = document.documentElement.scrollWidth;
found.outside = [...document.querySelectorAll(".ranking td, .ranking th, .plot")]
  .filter((part) => part.getBoundingClientRect().right > across + 1).length;
const plots = [...document.querySelectorAll(".plot")].map((box) => ({
  scrolls: getComputedStyle(box).overflowX === "auto" && box.tabIndex === 0
    && Boolean(box.ariaLabel),
  hidden: box.scrollWidth - box.clientWidth,
  scale: box.firstElementChild.getBoundingClientRect().width
    / parseFloat(box.style.getPropertyValue("--drawn")),
}));
found.cut = plots.filter((box) => box.hidden > 1 && !box.scrolls).length;
found.scrolled = plots.filter((box) => box.hidden > 1).length;
found.scale = Math.min(...plots.map((box) => box.scale));
found.figures = document.querySelectorAll(".plot > *").length;
found.plots = [...document.querySelectorAll(".plot > *")]
  .every((part) => part.getBoundingClientRect().height > 60);
found.dark = getComputedStyle(document.body).backgroundColor;

const button = document.querySelector(".ranking thead button");
const table = document.querySelector(".ranking");
const first = () => table.tBodies[0].rows[0].cells[0].textContent.trim();
button.click();
found.sortedDown = first();
button.click();
found.sortedUp = first();
found.aria = button.closest("th").getAttribute("aria-sort");

const box = document.querySelector("input[data-shows]");
box.click();
const parts = [...document.querySelectorAll(`[data-series="${box.dataset.shows}"]`)];
found.hidden = parts.length > 0 && parts.every((part) => getComputedStyle(part).display === "none");
box.click();
found.back = parts.every((part) => getComputedStyle(part).display !== "none");

const enlarge = document.querySelector("button.enlarge");
enlarge.focus();
enlarge.click();
const dialog = document.getElementById("enlarged");
found.opened = dialog.open && dialog.querySelector(".large").children.length === 1;
dialog.close();
setTimeout(() => {
  found.closed = !dialog.open && document.querySelectorAll(".plot > *").length === found.figures;
  found.focus = document.activeElement === enlarge;
  const all = [...document.querySelectorAll("a[href], button, input, summary, [tabindex]")];
  found.reachable = all.every((part) => part.tabIndex >= 0);
  found.regions = [...document.querySelectorAll(".scroll")]
    .every((part) => part.tabIndex === 0 && part.ariaLabel);
  parent.postMessage(JSON.stringify(found), "*");
}, 50);
})();
</script>
"""


FRAME = """<!DOCTYPE html>
<iframe src="probed.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", (event) => { document.body.dataset.found = event.data; });
</script>"""


def browse(page, folder, width, *options):
    """What the probe finds in the page, in a frame that is ``width`` pixels wide: a window has a
    least width.
    """
    probed, frame = folder / "probed.html", folder / "frame.html"
    probed.write_text(
        page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8"
    )
    frame.write_text(FRAME.replace("{width}", str(width)), encoding="utf-8")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += [
        "--window-size=1400,1000",
        "--virtual-time-budget=5000",
        *options,
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, "the page's script did not come to its end"
    return json.loads(found[1].replace("&quot;", '"'))


@pytest.fixture(scope="module")
def page(module_study):
    return write_report(module_study).page


@pytest.fixture(scope="module")
def module_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "simulated"
    write_simulated_study(folder, Size(encoders=4, fractions=2, seeds=3))
    return folder


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_cut_off_and_everything_works(page, tmp_path, width):
    found = browse(page, tmp_path, width)
    assert found["width"] <= width
    assert found["page"] <= found["width"]
    assert found["outside"] == 0
    assert found["cut"] == 0, "a figure that is wider than the page can be scrolled in its box"
    assert found["scale"] > 0.79, "letters of 9 points stay larger than 9 pixels"
    assert (found["scrolled"] > 0) == (width == 420)
    assert found["figures"] == 7
    assert found["plots"]
    assert found["sortedDown"] != found["sortedUp"]
    assert found["aria"] == "ascending"
    assert found["hidden"]
    assert found["back"]
    assert found["opened"]
    assert found["closed"]
    assert found["focus"]
    assert found["reachable"]
    assert found["regions"]


def test_dark(page, tmp_path):
    light = browse(page, tmp_path, 1280)["dark"]
    dark = browse(page, tmp_path, 1280, "--blink-settings=preferredColorScheme=0")["dark"]
    assert light != dark


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
    assert target.stat().st_size > 50_000
