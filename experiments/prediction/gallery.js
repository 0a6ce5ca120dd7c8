"use strict";
// Without this script the page shows every prediction half transparent over its image.
const opacity = document.getElementById("opacity");
const uncertainty = document.getElementById("uncertainty");
const truth = document.getElementById("truth");
const boxes = [...document.querySelectorAll("input.class")];

// A mask becomes a canvas, so that the pixels of a class can be hidden.
function drawn(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.className = image.className;
  canvas.hidden = image.hidden;
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

const layers = { prediction: [], truth: [], uncertainty: [] };

function update() {
  const shown = new Set(
    boxes.filter((box) => box.checked).map((box) => parseInt(box.dataset.color.slice(1), 16)),
  );
  const wanted = uncertainty.checked ? "uncertainty" : truth && truth.checked ? "truth" : "prediction";
  for (const [kind, each] of Object.entries(layers)) {
    for (const layer of each) {
      layer.hidden = kind !== wanted;
      layer.style.opacity = opacity.value / 100;
      if (layer.pixels) hideClasses(layer, shown);
    }
  }
}

window.addEventListener("load", () => {
  for (const kind of Object.keys(layers)) {
    const images = [...document.querySelectorAll(`img.layer.${kind}`)];
    layers[kind] = kind === "uncertainty" ? images : images.map(drawn);
  }
  for (const input of document.querySelectorAll("input")) input.addEventListener("input", update);
  update();
});
