"""A world in which colours are all there is: images of coloured stripes, an encoder whose features
are colours, and a head that finds classes by the names of colours, without labels."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import QueriesSpec

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
SYNONYMS = {"rose": "red", "grass": "green", "sky": "blue"}
PATCH = 8
ENCODER = {"name": "toy_colors:colors", "label": "eye", "neck": "none"}
HEAD = "toy_colors:ColorHead"


class Colors(nn.Module):
    """The mean colour of every patch; a weight of 1, so that there is something to store."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    widths, reductions = (3,), (PATCH,)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, images):
        return [F.avg_pool2d(images, PATCH) * self.weight]


def colors(pretrained=False):
    return Colors()


class ColorSpec(QueriesSpec):
    """Classes by the names of their colours."""

    method: Literal["nearest", "farthest"] = "nearest"
    """"farthest" is always wrong."""


@register_head("toy_color", ColorSpec, reads="maps", learns=False)
class ColorHead(Head):
    def __init__(self, spec, num_classes, level):
        super().__init__()
        self.spec, self.num_classes, self.level = spec, num_classes, level
        names = [SYNONYMS.get(text, text) for text in spec.queries]
        # what a tower of texts would give
        self.register_buffer("texts", torch.tensor([COLORS[name] for name in names]).float())
        self.register_buffer("classes", torch.tensor(list(spec.queries.values())))

    @classmethod
    def build(cls, spec, encoder, num_classes):
        return cls(spec, num_classes, encoder.levels[-1])

    def predict(self, pyramid, image_size):
        features = F.normalize(pyramid[self.level.name], dim=1)
        similar = torch.einsum("qc,bchw->bqhw", self.texts, features)
        if self.spec.method == "farthest":
            similar = -similar
        scores = torch.stack(
            [similar[:, self.classes == k].amax(dim=1) for k in range(self.num_classes)], dim=1
        )
        return ScoreMaps(scores, image_size, stride=self.level.stride)


def make_squares(folder, classes=tuple(COLORS)):
    """A dataset of images 32×48 of stripes as wide as a patch, each of one class's colour; a
    column of pixels at the right is ignored."""
    rng = np.random.default_rng(0)
    palette = 255 * np.array(list(COLORS.values()), dtype=np.uint8)
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            # stripes, whose borders are those of patches: exact also after upsampling
            stripes = rng.permutation(np.arange(6) % len(COLORS))
            mask = np.tile(stripes.repeat(PATCH), (4 * PATCH, 1)).astype(np.uint8)
            name = f"{split}_{number}.png"
            Image.fromarray(palette[mask]).save(folder / "images" / split / name)
            mask[:, -1] = 255
            Image.fromarray(mask).save(folder / "masks" / split / name)
    return DatasetSpec(
        name="squares",
        root=str(folder),
        classes=tuple(classes),
        splits={"train": "train", "val": "val", "test": "test"},
    )
