"""Predictions kept as files, for the report."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.utils.files import write_bytes

LONGEST_SIDE = 512
PICTURES = 6
"""How many predictions of a run are kept."""


def save_pictures(pictures: Sequence[Picture], folder: Path, classes: int, run_id: str) -> None:
    """Write ``pictures/ID.image.jpg``, ``ID.truth.png`` and ``ID.prediction.png``.

    The last two hold class ids in 8 bits, with 255 = ignore, or for more than 255 ``classes`` in 16
    bits, with 65535 = ignore. Every file names its run: a PNG in the text ``run``, a JPEG in its
    comment. Where a whole image has one class they have one pixel.
    """
    kept_as = mask_type(ignore_label(classes))
    for picture in pictures:
        image = Image.fromarray(np.ascontiguousarray(picture.image.permute(1, 2, 0).numpy()))
        height, width = picture.truth.shape
        if (height, width) == (1, 1):  # the class of the whole image
            height, width = picture.image.shape[1:]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        start = folder / "pictures" / picture.id
        _save(image.resize(size, Image.Resampling.BILINEAR), Path(f"{start}.image.jpg"), run_id)
        for name, labels in (("truth", picture.truth), ("prediction", picture.prediction)):
            ids = Image.fromarray(labels.numpy().astype(kept_as))
            if ids.size != (1, 1):
                ids = ids.resize(size, Image.Resampling.NEAREST)
            _save(ids, Path(f"{start}.{name}.png"), run_id)


def _save(image: Image.Image, path: Path, run_id: str) -> None:
    buffer = io.BytesIO()
    if path.suffix == ".jpg":
        image.save(buffer, "JPEG", quality=90, comment=run_id)
    else:
        text = PngInfo()
        text.add_text("run", run_id)
        image.save(buffer, "PNG", pnginfo=text)
    write_bytes(path, buffer.getvalue())
