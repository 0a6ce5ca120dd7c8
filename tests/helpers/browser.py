"""A page in a real browser, without a window."""

import json
import re
import shutil
import subprocess
from html import unescape

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)

FRAME = """<!DOCTYPE html>
<iframe src="probed.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", (event) => { document.body.dataset.found = event.data; });
</script>"""


def browse(page, folder, width, probe, *options):
    """What the script ``probe`` posts of the page, in a frame that is ``width`` pixels wide.

    The frame is needed because a window has a least width.
    """
    probed, frame = folder / "probed.html", folder / "frame.html"
    probed.write_text(
        page.read_text(encoding="utf-8").replace("</body>", f"<script>{probe}</script></body>"),
        encoding="utf-8",
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
        "--window-size=1500,1000",
        "--virtual-time-budget=5000",
        *options,
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, "the page's script did not come to its end"
    return json.loads(unescape(found[1]))
