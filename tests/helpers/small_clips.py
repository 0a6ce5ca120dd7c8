"""A tiny CLIP: its body as timm makes it, and its text tower on disk."""

import timm
from small_text_towers import clip_folder

NAME = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
WIDTH = 512
"""Numbers of a token in the space of texts."""
TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 32}
CREATE = timm.create_model


def make_small(monkeypatch, **changes):
    """Let timm make small models of every name of a vision transformer."""

    def create(name, **options):
        return CREATE(name, **(TINY | changes | options))

    monkeypatch.setattr(timm, "create_model", create)


def tower(folder, width=WIDTH):
    """The folder of a tiny text tower."""
    return str(clip_folder(folder, width=width))
