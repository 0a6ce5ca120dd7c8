"use strict";
// The page is complete without scripts. They add: values under the pointer, filters, sorting, enlarging.
document.documentElement.classList.add("scripted");

// where there is room beside the page, the contents stand there
document.querySelector(".contents").open = matchMedia("(min-width: 92rem)").matches;

const tip = document.getElementById("tip");
const told = document.getElementById("told");

// "linear 0 100 46 546" and a unit -> the functions between values and places of the drawing
function scaleOf(panel, name) {
  const [kind, ...numbers] = panel.getAttribute(`data-${name}`).split(" ");
  let [low, high, first, last] = numbers.map(Number);
  const logarithmic = kind === "log";
  if (logarithmic) [low, high] = [Math.log(low), Math.log(high)];
  const unit = panel.getAttribute(`data-${name}-unit`);
  return {
    text(place) {
      const value = low + ((place - first) / (last - first)) * (high - low);
      return shortNumber(logarithmic ? Math.exp(value) : value) + unit;
    },
  };
}

function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1000) return String(Math.round(value));
  if (size >= 10) return value.toFixed(1);
  return String(Number(value.toPrecision(3)));
}

// every point of a panel that can be read: those with markers, and those of lines without
function pointsOf(panel) {
  const [x, y] = [scaleOf(panel, "x"), scaleOf(panel, "y")];
  const found = [];
  for (const series of panel.querySelectorAll("g[data-name]")) {
    const marks = series.querySelectorAll("polygon.mark");
    for (const mark of marks) {
      const [, left, top] = mark.getAttribute("transform").match(/\(([-\d.]+) ([-\d.]+)\)/);
      // the browser's own tip would cover ours
      const title = mark.querySelector("title");
      const text = title.textContent;
      title.remove();
      found.push({ series, x: Number(left) + 7, y: Number(top) + 7, text });
    }
    const line = series.querySelector("path.line");
    if (marks.length || !line) continue;
    for (const pair of line.getAttribute("d").slice(1).split("L")) {
      const [left, top] = pair.split(" ").map(Number);
      const text = `${series.dataset.name}: ${y.text(top)} at ${x.text(left)}`;
      found.push({ series, x: left, y: top, text });
    }
  }
  return found;
}

const known = new WeakMap();
function readable(panel) {
  if (!known.has(panel)) known.set(panel, pointsOf(panel));
  return known.get(panel).filter((point) => point.series.style.display !== "none");
}

function show(panel, point) {
  const box = panel.getBoundingClientRect();
  const factor = box.width / panel.viewBox.baseVal.width;
  let ring = panel.querySelector(".ring");
  if (!ring) {
    ring = document.createElementNS(panel.namespaceURI, "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "8");
    panel.append(ring);
  }
  ring.setAttribute("cx", point.x);
  ring.setAttribute("cy", point.y);
  const within = panel.closest("dialog") || document.body;
  if (tip.parentElement !== within) within.append(tip);
  tip.hidden = false;
  tip.textContent = point.text;
  const left = Math.min(box.left + point.x * factor + 12, document.documentElement.clientWidth - tip.offsetWidth - 4);
  tip.style.left = `${Math.max(left, 4)}px`;
  tip.style.top = `${Math.max(box.top + point.y * factor - tip.offsetHeight - 10, 4)}px`;
}

function hide(panel) {
  tip.hidden = true;
  panel.querySelector(".ring")?.remove();
}

function nearest(panel, event) {
  const box = panel.getBoundingClientRect();
  const factor = panel.viewBox.baseVal.width / box.width;
  const [x, y] = [(event.clientX - box.left) * factor, (event.clientY - box.top) * factor];
  let best = null;
  let least = 40;
  for (const point of readable(panel)) {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance < least) [best, least] = [point, distance];
  }
  return best;
}

for (const panel of document.querySelectorAll("svg.panel")) {
  panel.tabIndex = 0;
  panel.setAttribute("aria-describedby", "panel-keys");
  let place = -1;
  panel.addEventListener("pointermove", (event) => {
    const point = nearest(panel, event);
    if (point) show(panel, point);
    else hide(panel);
  });
  panel.addEventListener("pointerleave", () => hide(panel));
  panel.addEventListener("blur", () => hide(panel));
  panel.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const points = readable(panel);
    if (!step || !points.length) return;
    event.preventDefault();
    place = (place + step + points.length) % points.length;
    show(panel, points[place]);
    told.textContent = points[place].text;
  });
}
