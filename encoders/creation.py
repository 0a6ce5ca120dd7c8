"""An encoder in one call."""

from typing import Any

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.utils.references import Reference


def create_encoder(
    name: Reference, *, seed: int = 0, text: bool = False, **settings: Any
) -> Encoder:
    """Return an encoder: images to a pyramid of features.

    It takes images B×3×H×W, normalised with its ``normalization``, whose sides are multiples of its
    ``divisibility``. With a neck it gives ``{"p2": B×C×H/4×W/4, "p3": …, "p4": …, "p5":
    B×C×H/32×W/32}``, C being ``channels``.

    Args:
        name: a name of :func:`~.listing.list_encoders`, a model of timm, the path of a YAML,
            ``package.module:function``, or a mapping with a ``base``.
        seed: of random weights. Each of body, neck and adapters has a random stream of its own.
        text: whether a head, such as zero_shot, compares its features with texts. It then needs
            ``neck="none"``.
        settings: keys of :class:`~.spec.EncoderSpec`, such as ``weights="random"``,
            ``neck="tap_pyramid"``, ``channels=128`` or ``freeze="body"``.

    Raises:
        InputError: an unknown name or setting, weights that cannot be had, or ``text`` for an
            encoder that was not trained with texts.
    """
    return build_encoder(load_encoder(name, settings), seed, text)
