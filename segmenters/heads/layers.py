"""The layers that decoders are made of: convolutions with their norm, and the classifier."""

from math import gcd

from torch import nn

from encoder_ablations.segmenters.spec import DecoderSpec, Norm

GROUPS = 32


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return a norm of B×C×h×w maps.

    GroupNorm has 32 groups (Wu & He, ECCV 2018), or as many as divide both 32 and the channels. A
    group has at least two channels, because one alone has no variance where the image's mean is
    all that is left of it.

    Args:
        norm: "batch" or "group".
        channels: C.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    groups = gcd(GROUPS, channels)
    if groups == channels:
        groups = max(1, channels // 2)
    return nn.GroupNorm(groups, channels)


def conv_norm_relu(inputs: int, outputs: int, kernel: int, norm: Norm) -> nn.Sequential:
    """Return a convolution without bias that keeps the size, its norm, and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))


def double_conv(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """Return two 3×3 convolutions, each with its norm and ReLU: a step of every U-Net."""
    return nn.Sequential(
        conv_norm_relu(inputs, outputs, 3, norm), conv_norm_relu(outputs, outputs, 3, norm)
    )


def separable_conv(inputs: int, outputs: int, dilation: int, norm: Norm) -> nn.Sequential:
    """Return a 3×3 convolution of each channel, a 1×1 convolution, the norm, and ReLU.

    Args:
        inputs: channels of the maps.
        outputs: channels of the result, which has the size of the maps.
        dilation: steps between the taps of the 3×3 convolution.
        norm: "batch" or "group".
    """
    each = nn.Conv2d(
        inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False
    )
    across = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(each, across, norm_layer(norm, outputs), nn.ReLU(inplace=True))


def classifier(inputs: int, num_classes: int, spec: DecoderSpec, kernel: int = 1) -> nn.Sequential:
    """Return dropout of whole channels and the convolution that gives the class logits."""
    conv = nn.Conv2d(inputs, num_classes, kernel, padding=kernel // 2)
    return nn.Sequential(nn.Dropout2d(spec.dropout), conv)


def initialize(decoder: nn.Module, logits: nn.Sequential) -> None:
    """Draw the weights of a new head, in place.

    Convolutions before ReLU as in He et al., "Delving Deep into Rectifiers", ICCV 2015; those of
    the classifier small, so that training begins with nearly equal probabilities.

    Args:
        decoder: the head.
        logits: its :func:`classifier`.
    """
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(logits[-1].get_parameter("weight"), std=0.01)
