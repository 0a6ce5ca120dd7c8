"use strict";
// Without this script the page shows every prediction half transparent over its image.
const opacity = document.getElementById("opacity");
const chosen = document.getElementById("layer");
const hint = document.getElementById("hint");
const classes = document.getElementById("classes");
const boxes = [...document.querySelectorAll("input.class")];
const COLORED = ["mask", "truth"];

// A mask becomes a canvas, so that the pixels of a class can be hidden.
function drawn(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.className = image.className;
  canvas.dataset.kind = image.dataset.kind;
  canvas.getContext("2d").drawImage(image, 0, 0);
  canvas.pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  image.replaceWith(canvas);
  return canvas;
}

function hideClasses(canvas, shown) {
  const data = canvas.pixels.data;
  for (let place = 0; place < data.length; place += 4) {
    const color = (data[place] << 16) | (data[place + 1] << 8) | data[place + 2];
    data[place + 3] = shown.has(color) ? 255 : 0;
  }
  canvas.getContext("2d").putImageData(canvas.pixels, 0, 0);
}

// The vectors of all patches, each of length 1.
function unitVectors(canvas) {
  const bytes = atob(canvas.dataset.values);
  const rank = Number(canvas.dataset.rank);
  const vectors = [];
  for (let start = 0; start < bytes.length; start += rank) {
    const vector = new Float32Array(rank);
    // a byte above 127 is a negative number
    for (let place = 0; place < rank; place += 1) {
      vector[place] = (bytes.charCodeAt(start + place) << 24) >> 24;
    }
    const length = Math.hypot(...vector) || 1;
    vectors.push(vector.map((value) => value / length));
  }
  return vectors;
}

// From dark blue over green to yellow, for values 0 to 1.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function rampColor(value) {
  const place = Math.min(Math.max(value, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[below].map((low, i) => low + (place - below) * (RAMP[below + 1][i] - low));
}

// Show the cosine similarity of all patches to the one at a row and a column, which is white.
function showSimilar(canvas, row, column) {
  canvas.vectors = canvas.vectors || unitVectors(canvas);
  const own = row * canvas.width + column;
  const cosines = canvas.vectors.map((vector) =>
    vector.reduce((sum, value, place) => sum + value * canvas.vectors[own][place], 0),
  );
  const lowest = Math.min(...cosines);
  const picture = new ImageData(canvas.width, canvas.height);
  cosines.forEach((cosine, patch) => {
    const share = (cosine - lowest) / (1 - lowest || 1);
    const color = patch === own ? [255, 255, 255] : rampColor(share);
    picture.data.set([...color, 255], 4 * patch);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const range = canvas.closest("figure").querySelector(".range");
  range.textContent = ` · cosine ${lowest.toFixed(2)} (dark) to 1 (bright)`;
}

function clickable(canvas) {
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
    const column = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    showSimilar(canvas, Math.min(row, canvas.height - 1), Math.min(column, canvas.width - 1));
  });
}

let layers = [];

function update() {
  const shown = new Set(
    boxes.filter((box) => box.checked).map((box) => parseInt(box.dataset.color.slice(1), 16)),
  );
  const kind = chosen.value;
  classes.disabled = !COLORED.includes(kind);
  for (const layer of layers) {
    layer.hidden = layer.dataset.kind !== kind;
    layer.style.opacity = opacity.value / 100;
    if (layer.pixels && !layer.hidden) hideClasses(layer, shown);
    // before the first click the patch in the middle counts as clicked
    if (kind === "similarity" && !layer.hidden && !layer.vectors) {
      showSimilar(layer, layer.height >> 1, layer.width >> 1);
    }
  }
  for (const range of document.querySelectorAll(".range")) range.hidden = kind !== "similarity";
  if (hint) hint.hidden = kind !== "similarity";
}

window.addEventListener("load", () => {
  layers = [...document.querySelectorAll(".layer")].map((layer) =>
    COLORED.includes(layer.dataset.kind) ? drawn(layer) : layer,
  );
  for (const layer of layers) if (layer.dataset.kind === "similarity") clickable(layer);
  for (const input of document.querySelectorAll("input, select")) {
    input.addEventListener("input", update);
  }
  update();
});
