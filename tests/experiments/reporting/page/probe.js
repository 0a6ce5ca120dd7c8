// What test_browser.py asks of the page in a real browser; the answer goes to the frame around it.
(async () => {
  const found = {};
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  for (const part of all("details")) part.open = true;
  const across = document.documentElement.clientWidth;
  found.width = across;
  found.page = document.documentElement.scrollWidth;
  const box = (part) => part.getBoundingClientRect();
  found.wide = all(".ranking td, .ranking th, .results tbody td, .results tbody th, svg.panel, figure.chart")
    .filter((part) => box(part).right > across + 1)
    .map((part) => part.outerHTML.slice(0, 80));

  // effective size of letters in figures, and texts that touch
  const panels = all("svg.panel");
  const factor = (panel) => box(panel).width / panel.viewBox.baseVal.width;
  const sizes = panels.flatMap((panel) =>
    all("text", panel).map((text) => parseFloat(getComputedStyle(text).fontSize) * factor(panel))
  );
  found.letters = Math.min(...sizes);
  found.overlaps = panels.flatMap((panel) => {
    const texts = all("text.middle", panel).map(box).sort((a, b) => a.left - b.left);
    return texts.filter((text, place) => place && text.left < texts[place - 1].right).map((text) => text.left);
  });

  // contrast of every text against what lies below it
  const numbers = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+(e-?\d+)?/g).map(Number);
    const scale = color.startsWith("color(") ? 255 : 1;
    return [r * scale, g * scale, b * scale, a];
  };
  const over = (top, below) => top.slice(0, 3).map((value, place) => value * top[3] + below[place] * (1 - top[3])).concat(1);
  const ground = (part) => {
    const layers = [];
    for (let each = part; each; each = each.parentElement) layers.unshift(numbers(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((value) => value / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (part) => {
    const style = getComputedStyle(part);
    const below = ground(part.closest("svg") ? part.closest("svg").parentElement : part);
    const ink = over(numbers(part.closest("svg") ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const written = all("body *").filter(
    (part) =>
      !part.closest("script, style, title, .unseen, .skip, dialog, [hidden]") &&
      [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) &&
      box(part).width > 0
  );
  found.pale = written.filter((part) => contrast(part) < 4.5).map((part) => `${contrast(part).toFixed(2)} ${part.outerHTML.slice(0, 90)}`).slice(0, 5);

  // names, ids and the order of the keyboard
  const name = (part) =>
    part.getAttribute("aria-label") || part.alt || part.closest("label")?.textContent.trim() || part.textContent.trim();
  const usable = all("a[href], button, input, summary, [tabindex], img, [role=img], [role=group]");
  found.unnamed = usable.filter((part) => !name(part)).map((part) => part.outerHTML.slice(0, 80));
  const ids = all("[id]").map((part) => part.id);
  found.twice = ids.filter((id, place) => ids.indexOf(id) !== place);
  const stops = all("a[href], button, input, summary, [tabindex]");
  found.outOfOrder = stops.filter((part) => part.tabIndex > 0).length;
  const boxes = all(".scroll").filter((part) => part.tabIndex !== 0 || !part.ariaLabel);
  found.unreachable = [...stops.filter((part) => part.tabIndex < 0), ...boxes].map((part) => part.outerHTML.slice(0, 80));

  // values under the pointer, and by the keys
  const mark = document.querySelector("svg.panel polygon.mark");
  const told = mark.querySelector("title").textContent;
  const panel = mark.closest("svg");
  panel.scrollIntoView();
  const at = box(mark);
  const where = { clientX: (at.left + at.right) / 2, clientY: (at.top + at.bottom) / 2, bubbles: true };
  panel.dispatchEvent(new PointerEvent("pointermove", where));
  found.hovered = document.getElementById("tip").textContent;
  found.marked = told;
  panel.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  found.byKeys = document.getElementById("told").textContent;

  // sorting
  const table = document.querySelector(".ranking");
  const header = table.tHead.querySelector("button");
  const first = () => table.tBodies[0].rows[0].cells[0].textContent.trim();
  header.click();
  found.sortedDown = first();
  header.click();
  found.sortedUp = first();
  found.aria = header.closest("th").getAttribute("aria-sort");

  // without the first encoder: it leaves all figures at once, and the others are ranked again
  const rows = () => all("table.results tbody tr").filter((row) => row.style.display !== "none");
  const title = (row) => row.cells[0].textContent.trim();
  const cell = (row, part) => row.querySelector(`[data-is="${part}"]`).textContent;
  const leader = rows()[0];
  found.removed = title(leader);
  const filter = document.querySelector(`input[data-filter="encoder"][value="${leader.dataset.encoder}"]`);
  filter.click();
  const series = all(`[data-series="${leader.dataset.encoder}"]`);
  found.hiddenSeries = series.length > 5 && series.every((part) => getComputedStyle(part).display === "none");
  const shares = [...new Set(rows().map((row) => row.dataset.share))];
  found.recomputed = shares.flatMap((share) =>
    rows()
      .filter((row) => row.dataset.share === share)
      .map((row) => [title(row), cell(row, "rank"), cell(row, "behind"), cell(row, "bounds")])
      .sort((a, b) => a[1] - b[1])
  );
  filter.click();
  found.shownAgain = series.every((part) => getComputedStyle(part).display !== "none");

  // the dialog
  const enlarge = document.querySelector("button.enlarge");
  const dialog = document.getElementById("enlarged");
  enlarge.focus();
  enlarge.click();
  found.opened = dialog.open && dialog.querySelectorAll("svg.panel").length > 0;
  const closed = new Promise((resolve) => dialog.addEventListener("close", () => resolve()));
  dialog.close();
  await closed;
  found.closed = !dialog.open && !dialog.querySelector("svg.panel") && all("svg.panel").length === panels.length;
  found.focus = document.activeElement === enlarge;
  parent.postMessage(JSON.stringify(found), "*");
})();
