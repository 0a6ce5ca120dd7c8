"""``ablate taps``: an encoder's taps, checked against its source, with heatmaps for an image."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.experiments import options
from encoder_ablations.utils.config import parse_overrides
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

if TYPE_CHECKING:
    from torch import Tensor

    from encoder_ablations.encoders.base import Body, Encoder
    from encoder_ablations.encoders.inspection import Inspection

EXAMPLES = """  ablate taps --encoder dinov2_b14
  ablate taps --encoder vit_ti16 --size 512x640 weights=random
  ablate taps --encoder clip_b16 --image photo.jpg --heatmaps taps weights=clip.safetensors
  ablate taps --encoder my_models:make_small weights=random"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate taps --help``."""
    parser = options.make_parser(
        "taps", "Prints shapes, strides and token grid of an encoder and checks its taps.", EXAMPLES
    )
    parser.add_argument("--encoder", required=True, help=options.ENCODER_HELP)
    parser.add_argument("--image", type=Path, help="an image file (default: noise)")
    parser.add_argument(
        "--size", help="HxW, e.g. 512x640 (default: the image's own size, or 512x512)"
    )
    parser.add_argument("--heatmaps", type=Path, help="folder for PNGs of taps and pyramid levels")
    options.add_overrides(parser, "weights=random")
    arguments = parser.parse_intermixed_args(argv)
    spec = load_encoder(arguments.encoder, parse_overrides(arguments.overrides))
    image = _read(arguments.image, _parse_size(arguments.size))
    return _show(spec, image, arguments.heatmaps)


def _show(spec: EncoderSpec, image: np.ndarray, heatmaps: Path | None) -> int:
    """Print what the encoder gives for an image H×W×3 uint8 and write its heatmaps.

    Returns:
        The exit code: 1 if a tap differs from its source.
    """
    from encoder_ablations.encoders.build import build_encoder
    from encoder_ablations.encoders.heatmaps import save_heatmaps
    from encoder_ablations.encoders.inspection import TOLERANCE, inspect

    encoder = build_encoder(spec)
    result = inspect(encoder, find_row(spec.name), _normalised(image, encoder))
    print(describe(encoder, result, spec.title, image.shape[0], image.shape[1]))
    if heatmaps is not None:
        maps = {f"tap{i}": features[0] for i, features in enumerate(result.maps)}
        maps |= {name: features[0] for name, features in result.pyramid.items()}
        caption = _caption(spec, encoder)
        written = save_heatmaps(image, maps, heatmaps, caption)
        print(f"wrote {plural(len(written), 'picture')} to {heatmaps}")
        print(caption)
    agrees = (result.source_difference or 0.0) <= TOLERANCE
    return int(not agrees)


def _normalised(image: np.ndarray, encoder: "Encoder") -> "Tensor":
    """Return 1×3×H×W as the encoder takes it, of H×W×3 uint8."""
    import torch

    mean = torch.tensor(encoder.normalization.mean).view(3, 1, 1)
    std = torch.tensor(encoder.normalization.std).view(3, 1, 1)
    return ((torch.tensor(image).permute(2, 0, 1) / 255 - mean) / std).unsqueeze(0)


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InputError(f"--size {text}: write height and width in pixels as HxW, e.g. 512x640.")
    return int(match[1]), int(match[2])


def _read(path: Path | None, size: tuple[int, int] | None) -> np.ndarray:
    """Return H×W×3 uint8: the image, resized if a size is given; noise without an image."""
    if path is None:
        height, width = size or (512, 512)
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = read_image(path)
    if size is None:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _caption(spec: EncoderSpec, encoder: "Encoder") -> str:
    """Return what the colours of the heatmaps mean, and which weights have drawn them."""
    sentences = [
        "Colour is the mean of |activation| over the channels, stretched in each map to its own "
        "range: dark blue is the least, yellow the most.",
        f"Weights of the encoder: {spec.weights}.",
    ]
    if encoder.parts["neck"]:
        names = f"{encoder.levels[0].name} to {encoder.levels[-1].name}"
        sentences.append(f"{names} come from a neck with random weights, as before training.")
    return " ".join(sentences)


def describe(encoder: "Encoder", result: "Inspection", title: str, height: int, width: int) -> str:
    """Return what ``ablate taps`` prints."""
    body = encoder.body
    lines = [f"{title} on {height}×{width}", f"  {_about_body(body, height, width)}"]
    lines.append(f"  mean {body.normalization.mean}, std {body.normalization.std}")
    names = _tap_names(body, len(result.maps))
    taps = zip(names, result.maps, body.reductions, strict=True)
    for index, (name, features, reduction) in enumerate(taps):
        lines.append(f"  tap {index} ({name}): {_shape(features)}, stride {reduction:g}")
    for level in encoder.levels:
        lines.append(f"  {level.name}: {_shape(result.pyramid[level.name])}, stride {level.stride}")
    return "\n".join([*lines, f"  source check: {_source_check(result.source_difference)}"])


def _about_body(body: "Body", height: int, width: int) -> str:
    """Return blocks, and what the kind of body has besides, on images height×width."""
    from encoder_ablations.encoders.bodies.custom import CustomBody
    from encoder_ablations.encoders.bodies.darknet import DarkNetBody
    from encoder_ablations.encoders.bodies.hierarchical import HierarchicalBody
    from encoder_ablations.encoders.bodies.unet import UNetBody
    from encoder_ablations.encoders.bodies.vit import ViTBody

    blocks = plural(body.max_depth - 1, "block")
    if isinstance(body, ViTBody):
        return (
            f"patch {body.patch}, read as stride {body.reduction:g}; "
            f"{body.tokens(height, width)} patch tokens, "
            f"{plural(body.prefix_tokens, 'prefix token')}; {blocks}; "
            f"final norm on taps: {body.final_norm}"
        )
    if isinstance(body, HierarchicalBody) and body.step > 1:
        return f"{blocks}; images are padded to multiples of {body.step}"
    if isinstance(body, CustomBody) and not body.blocks:
        return "no blocks: its module has no depth_of and max_depth"
    if isinstance(body, DarkNetBody | UNetBody):
        return f"{blocks}, which are its stages"
    return blocks


def _tap_names(body: "Body", count: int) -> list[str]:
    """Return what each of a number of taps is called."""
    from encoder_ablations.encoders.bodies.custom import CustomBody
    from encoder_ablations.encoders.bodies.unet import UNetBody
    from encoder_ablations.encoders.bodies.vit import ViTBody

    if isinstance(body, ViTBody):
        return [f"block {tap}" for tap in body.taps]
    if isinstance(body, CustomBody):
        return [f"map {index}" for index in range(count)]
    # only a U-Net gives the map of its first stage, too
    first = 2 - isinstance(body, UNetBody)
    return [f"stage {first + index}" for index in range(count)]


def _source_check(difference: float | None) -> str:
    if difference is None:
        return "no other implementation of this encoder to compare with"
    from encoder_ablations.encoders.inspection import TOLERANCE

    verdict = f"DIFFERENT (more than {TOLERANCE:g})"
    if difference <= TOLERANCE:
        verdict = "equal"
    return f"largest difference to timm's own blocks {difference:.1e}: {verdict}"


def _shape(features: "Tensor") -> str:
    return "×".join(str(n) for n in features.shape[1:])
