"""Segment a photo by model.onnx: print which share each class has, and write mask and overlay.

It needs numpy, pillow and onnxruntime:

    pip install numpy pillow onnxruntime
    python example.py photo.jpg            prints only
    python example.py photo.jpg FOLDER     writes into the folder, too

The mask is a PNG of class ids in the classes' colours. Names of the classes are in classes.json.
If the model also tells the class of the whole photo, that is printed first.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent


def segment(photo: Image.Image, size: list[int] | None) -> tuple[Image.Image, np.ndarray | None]:
    """Return the class ids of a photo as an image of its size.

    With it come the probabilities of the whole photo's classes; None if the model tells none.

    Args:
        photo: in RGB.
        size: [height, width] that the model takes; None = any.
    """
    session = onnxruntime.InferenceSession(
        str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    seen = photo
    if size is not None:
        seen = photo.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    # raw RGB 0..255 as batch × channels × height × width; all else happens inside the model
    pixels = np.asarray(seen).transpose(2, 0, 1)[None]
    names = [each.name for each in session.get_outputs() if each.name != "probabilities"]
    labels, *others = session.run(names, {"photos": np.ascontiguousarray(pixels)})
    ids = labels[0]
    if ids.dtype != np.uint8:
        ids = ids.astype(np.uint16)
    mask = Image.fromarray(ids).resize(photo.size, Image.Resampling.NEAREST)
    if not others:
        return mask, None
    return mask, others[0][0]


def main() -> None:
    """Segment the photo that the command line names."""
    path = Path(sys.argv[1])
    facts = json.loads((FOLDER / "classes.json").read_text(encoding="utf-8"))
    colors = np.array([each["color"] for each in facts["classes"]], np.uint8)
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    mask, shares = segment(photo, facts["size"])
    if shares is not None:
        best = int(shares.argmax())
        print(f"whole photo: {facts['image_classes'][best]} ({100 * shares[best]:.2f} %)")
    ids = np.asarray(mask)
    if len(sys.argv) > 2:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        if mask.mode == "L":
            mask.putpalette(colors.tobytes())
        mask.save(folder / f"{path.stem}.mask.png")
        overlay = Image.blend(photo, Image.fromarray(colors[ids]), 0.5)
        overlay.save(folder / f"{path.stem}.overlay.png")
    for each in facts["classes"]:
        share = float((ids == each["id"]).mean())
        if share > 0:
            print(f"{each['name']:20} {100 * share:6.2f} %")


if __name__ == "__main__":
    main()
