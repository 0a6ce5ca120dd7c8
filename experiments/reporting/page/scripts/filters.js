// What is switched off leaves all figures and tables; ranks and distances are computed again.
const allResults = document.getElementById("all-results");
const boxes = [...document.querySelectorAll("input[data-filter]")];
const quantiles = (allResults?.dataset.t || "").split(" ").map(Number);
const groups = [...document.querySelectorAll("table.results tbody tr")].map((row) => ({
  row,
  encoder: row.dataset.encoder,
  setting: row.dataset.setting,
  head: row.dataset.head,
  dataset: row.dataset.dataset,
  share: row.dataset.share,
  scores: new Map(row.dataset.scores.split(" ").map((each) => each.split(":").map(Number))),
}));

const NARROWED = "tr[data-encoder], tr[data-share], th[data-encoder], th[data-share], details[data-encoder]";

function off(kind) {
  return new Set(boxes.filter((box) => box.dataset.filter === kind && !box.checked).map((box) => box.value));
}

function meanOf(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// as paired_difference and summarize in Python: the interval from three seeds on, the range of two
function pairedDifference(leader, other) {
  const seeds = [...leader.keys()].filter((seed) => other.has(seed));
  const values = seeds.map((seed) => other.get(seed) - leader.get(seed));
  const n = values.length;
  if (!n) return { text: "", bounds: "" };
  const mean = meanOf(values);
  if (n === 1) return { text: points(mean), bounds: "" };
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (n > 2) {
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const half = (quantiles[n - 2] * Math.sqrt(squares / (n - 1))) / Math.sqrt(n);
    [low, high] = [mean - half, mean + half];
  }
  return { text: points(mean), bounds: `${points(low)} to ${points(high)}` };
}

function points(share) {
  const text = (100 * share).toFixed(1);
  if (Number(text) === 0) return "0.0";
  return share > 0 ? `+${text}` : text.replace("-", "\u2212");
}

function write(row, name, text) {
  const cell = row.querySelector(`[data-is="${name}"]`);
  if (cell) cell.textContent = text;
}

// the groups of one setting and share that are shown, best first
function ranked(members) {
  const found = members.filter((each) => each.shown);
  for (const each of found) each.mean = meanOf([...each.scores.values()]);
  return found.sort((a, b) => b.mean - a.mean);
}

function rankAgain() {
  const places = new Map();
  for (const each of groups) {
    const key = `${each.setting}|${each.share}`;
    if (!places.has(key)) places.set(key, []);
    places.get(key).push(each);
  }
  for (const members of places.values()) {
    ranked(members).forEach((each, place, order) => {
      each.rank = place + 1;
      each.behind = place ? pairedDifference(order[0].scores, each.scores) : { text: "", bounds: "" };
      writeRank(each.row, each);
    });
  }
  for (const table of document.querySelectorAll("table.ranking")) {
    for (const row of table.tBodies[0].rows) {
      const each = groups.find(
        (group) =>
          group.setting === table.dataset.setting && group.share === table.dataset.share && group.encoder === row.dataset.encoder
      );
      if (each?.shown) writeRank(row, each);
    }
  }
}

function writeRank(row, each) {
  write(row, "rank", each.rank);
  write(row, "behind", each.behind.text);
  write(row, "bounds", each.behind.bounds);
}

function setShown(part, shown) {
  part.style.display = shown ? "" : "none";
}

function applyFilters() {
  const [encoders, heads, datasets, shares] = ["encoder", "head", "dataset", "share"].map(off);
  const settings = new Set();
  for (const each of groups) {
    const inSetting = !heads.has(each.head) && !datasets.has(each.dataset);
    if (!inSetting) settings.add(each.setting);
    each.shown = inSetting && !encoders.has(each.encoder) && !shares.has(each.share);
    setShown(each.row, each.shown);
  }
  for (const part of document.querySelectorAll(".setting, .answer")) setShown(part, !settings.has(part.dataset.setting));
  for (const part of document.querySelectorAll("[data-series]")) setShown(part, !encoders.has(part.dataset.series));
  for (const part of document.querySelectorAll("figure[data-fraction]")) setShown(part, !shares.has(part.dataset.fraction));
  for (const part of document.querySelectorAll(NARROWED)) {
    if (part.closest("table.results")) continue;
    const others = (part.dataset.encoder || "").split(" ").some((number) => encoders.has(number));
    const shown = !others && !settings.has(part.dataset.setting) && !shares.has(part.dataset.share);
    if (part.matches("thead th")) setColumn(part, shown);
    else setShown(part, shown);
  }
  rankAgain();
  markBest();
  told.textContent = `${groups.filter((each) => each.shown).length} of ${groups.length} results are shown.`;
}

function setColumn(header, shown) {
  const table = header.closest("table");
  const place = header.cellIndex;
  setShown(header, shown);
  for (const row of table.tBodies[0].rows) setShown(row.cells[place], shown);
}

// bold is the highest mean of a column (encoders down) or of a row (encoders across), as it prints
function markBest() {
  for (const table of document.querySelectorAll("table.marked")) {
    const rows = [...table.tBodies[0].rows].filter((row) => row.style.display !== "none");
    const lines = table.dataset.best === "row" ? rows.map((row) => [...row.cells].slice(1)) : columns(rows);
    for (const line of lines) markLine(line.filter((cell) => cell.style.display !== "none"));
  }
}

function columns(rows) {
  if (!rows.length) return [];
  return [...rows[0].cells].slice(1).map((_, place) => rows.map((row) => row.cells[place + 1]));
}

function markLine(cells) {
  const means = cells.map((cell) => parseFloat(cell.textContent));
  const known = means.filter((mean) => !Number.isNaN(mean));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  cells.forEach((cell, place) => cell.classList.toggle("best", low < high && means[place] === high));
}

for (const box of boxes) box.addEventListener("change", applyFilters);
