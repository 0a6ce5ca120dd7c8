// Figures and pictures open in a dialog; closing it brings them, and the focus, back.
const dialog = document.getElementById("enlarged");
const large = dialog.querySelector(".large");
let bringBack = null;

function enlarge(title, part, after) {
  dialog.querySelector("h2").textContent = title;
  large.append(part);
  bringBack = after;
  dialog.showModal();
}

for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => {
    const figure = button.closest("figure");
    const part = figure.querySelector(".panels, .plot");
    const mark = document.createComment("");
    part.replaceWith(mark);
    enlarge(figure.querySelector(".caption").textContent, part, () => mark.replaceWith(part));
  });
}

for (const picture of document.querySelectorAll(".pictures img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  button.setAttribute("aria-label", `Enlarge: ${picture.alt}`);
  picture.replaceWith(button);
  button.append(picture);
  button.addEventListener("click", () => enlarge(picture.alt, picture.cloneNode(), () => large.replaceChildren()));
}

dialog.addEventListener("close", () => bringBack?.());
