"""Rule 4: normalising and padding happen inside, once, with the encoder's own numbers."""

import torch
from torch import nn

from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.segmenters.base import Head, Segmenter

NORMALIZATION = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))


class Recorder(Body):
    """Keeps what it is given."""

    normalization = NORMALIZATION

    def forward(self, images):
        self.seen = images
        return [images]


class Same(nn.Module):
    def forward(self, maps, sizes):
        return [maps[0]] * 4


def test_what_the_encoder_is_given():
    body = Recorder()
    segmenter = Segmenter(Encoder(body, Same(), 32), Head())
    images = torch.randint(0, 256, (2, 3, 40, 64), dtype=torch.uint8)
    segmenter.pyramid(images)
    assert body.seen.shape == (2, 3, 64, 64)
    for channel, (mean, std) in enumerate(zip(NORMALIZATION.mean, NORMALIZATION.std, strict=True)):
        expected = (images[:, channel].float() / 255 - mean) / std
        assert torch.allclose(body.seen[:, channel, :40], expected, atol=1e-5)
    assert (body.seen[:, :, 40:] == 0).all()
    segmenter.pyramid(images.float())
    assert torch.allclose(body.seen[:, 0, :40], (images[:, 0].float() / 255 - 0.1) / 0.5, atol=1e-5)
