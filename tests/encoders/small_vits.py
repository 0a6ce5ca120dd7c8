"""The vision transformers of timm with few and narrow blocks, built by the product's own code."""

import timm
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.seeding import torch_stream

SIDE = 112
"""Of the native image of all small models, in pixels."""
TINY = {"embed_dim": 64, "depth": 4, "num_heads": 4}
OWN = {
    "samvit": {"img_size": SIDE, "window_size": 3, "global_attn_indexes": (1, 3)},
    "naflexvit": {"pos_embed_grid_size": (7, 7)},
    "vit_pe": {"img_size": SIDE, "ref_feat_shape": (7, 7)},  # the native grid, as in large ones
}
"""What some classes need beside ``TINY``; all others need the size of the image."""
NECK = {"neck_chans": 32}
CREATE = timm.create_model


def options_of(name):
    """Options that make a timm model small."""
    found = [own for start, own in OWN.items() if name.startswith(start)]
    options = TINY | (found[0] if found else {"img_size": SIDE})
    return options | (NECK if name == "samvit_base_patch16.sa1b" else {})


def create_small(name, **options):
    """``timm.create_model``, small."""
    return CREATE(name, **(options_of(name) | options))


def randomise(model):
    """Weights at which positions, norms and every block matter."""
    with torch_stream(0, "test", "weights"), torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.normal_(mean=1, std=0.2)
            elif parameter.ndim >= 2 and not is_position(name) and "token" not in name:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.normal_(std=0.5)


def is_position(name):
    """Whether a parameter holds learned positions."""
    return any(part in name for part in ("pos_embed", "relative_position", "rel_pos"))


def small_encoder(monkeypatch, name, text=False, **fields):
    """An encoder of the table, or of timm, whose body is small and has random weights."""
    monkeypatch.setattr(timm, "create_model", create_small)
    if fields.get("neck") != "none":
        fields = {"channels": 32} | fields
    fields = {"weights": "random"} | fields
    encoder = build_encoder(EncoderSpec(name=name, **fields), text=text)
    randomise(encoder.body)
    return encoder.eval()
