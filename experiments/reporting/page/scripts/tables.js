// Headers become buttons that sort.
function cellValue(cell) {
  const text = cell.textContent.replace("\u2212", "-").trim();
  const number = parseFloat(text.replace(/^[^\d.-]+(?=[\d.-])/, ""));
  if (!cell.matches(".number")) return text.toLowerCase();
  return Number.isNaN(number) ? -Infinity : number;
}

function compare(x, y) {
  if (x < y) return -1;
  return x > y ? 1 : 0;
}

function sortBy(table, header) {
  const down = header.getAttribute("aria-sort") !== "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const place = header.cellIndex;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const order = compare(cellValue(a.cells[place]), cellValue(b.cells[place]));
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    if (header.querySelector("svg.strip, .ends") || table.tBodies[0].rows.length < 2) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}
