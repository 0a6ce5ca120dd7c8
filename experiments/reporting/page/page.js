"use strict";
// The page is complete without this: it adds sorting, hiding of curves and enlarging, all usable from the keyboard.
document.documentElement.classList.add("scripted");

function value(cell) {
  const text = cell.textContent.replace("\u2212", "-").trim();
  const number = parseFloat(text.replace(/^[^\d.-]+(?=[\d.-])/, ""));
  return cell.matches(".number") ? (Number.isNaN(number) ? -Infinity : number) : text.toLowerCase();
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const header of table.tHead.rows[0].cells) {
    if (header.querySelector("svg.strip, .ends") || body.rows.length < 2) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const place = header.cellIndex;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a.cells[place]), value(b.cells[place])];
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...rows);
    });
  }
}

for (const box of document.querySelectorAll("input[data-shows]")) {
  box.addEventListener("change", () => {
    const setting = box.closest(".setting");
    for (const part of setting.querySelectorAll(`[data-series="${box.dataset.shows}"]`)) {
      part.style.display = box.checked ? "" : "none";
    }
  });
}

const dialog = document.getElementById("enlarged");
let home = null;
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => {
    home = button.closest("figure").querySelector(".plot");
    dialog.querySelector("h2").textContent = button.closest("figure").querySelector(".caption").textContent;
    dialog.querySelector(".large").append(home.firstElementChild);
    dialog.showModal();
  });
}
dialog.addEventListener("close", () => home && home.append(dialog.querySelector(".large").firstElementChild));
