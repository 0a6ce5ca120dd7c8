"""One of our encoders in transformers' UperNet: trained for a few steps, saved and loaded again.

    python examples/transformers_upernet.py

``AutoBackbone`` builds the encoder. Mask2Former and every other model that takes a
``backbone_config`` work in the same way. The encoder starts from random weights, so that nothing is
downloaded.
"""

from pathlib import Path

import torch
from transformers import UperNetConfig, UperNetForSemanticSegmentation

import encoder_ablations as ea
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.encoders.frameworks.transformers_backbone import (
    EncoderBackboneConfig,
    register,
)

DATA = Path("datasets/transformers_upernet")
OUTPUT = Path("outputs/transformers_upernet")
STEPS = 10
BATCH = 4


def build_model() -> UperNetForSemanticSegmentation:
    """Return UperNet for three classes on a small vision transformer."""
    # or {"name": "dinov2_b14", "freeze": "body"}
    encoder = {"name": "vit_ti16", "weights": "random", "channels": 32}
    backbone = EncoderBackboneConfig(encoder=encoder)
    config = UperNetConfig(
        backbone_config=backbone, num_labels=3, hidden_size=32, auxiliary_in_channels=32
    )
    return UperNetForSemanticSegmentation(config)


def make_batch(dataset: FolderDataset, start: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of images and masks.

    Args:
        dataset: the images to take from, in turn.
        start: number of the first one; after the last the first follows.

    Returns:
        Images B×3×H×W, RGB 0..1, and masks B×H×W of class ids.
    """
    samples = [dataset[(start + number) % len(dataset)] for number in range(BATCH)]
    images = torch.stack([torch.tensor(sample.image).permute(2, 0, 1) / 255 for sample in samples])
    return images, torch.stack([torch.tensor(sample.truth) for sample in samples])


def train(model: UperNetForSemanticSegmentation, dataset: FolderDataset) -> list[float]:
    """Train for a few steps and return the loss of each."""
    # the encoder's own numbers: transformers' backbones do not normalise
    normalization = model.backbone.encoder.normalization
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (normalization.mean, normalization.std)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(STEPS):
        images, masks = make_batch(dataset, step * BATCH)
        loss = model(pixel_values=(images - mean) / std, labels=masks).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train, save, load again, and compare the scores of both models."""
    torch.manual_seed(0)
    register()  # transformers then knows the encoders as backbones
    ea.generate_terrain(DATA, train=16, val=2, test=2, size=64, seed=0)
    spec = ea.load_dataset({"base": "mars_terrain", "root": str(DATA.resolve())})
    dataset = FolderDataset(spec, "train")

    model = build_model()
    losses = train(model, dataset)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {STEPS} steps")

    model.save_pretrained(OUTPUT)
    loaded = UperNetForSemanticSegmentation.from_pretrained(OUTPUT).eval()
    images, _ = make_batch(dataset, 0)
    with torch.no_grad():
        difference = (model.eval()(images).logits - loaded(images).logits).abs().max()
    print(f"saved in {OUTPUT}; largest difference of the loaded model's scores: {difference:.1e}")


if __name__ == "__main__":
    main()
