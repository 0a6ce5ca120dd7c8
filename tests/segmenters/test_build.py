import hashlib

import pytest
import torch

from encoder_ablations.encoders.freezing import freeze_unread
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

SMALL = {"queries": 4, "hidden": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
SPECS = [
    LinearSpec(name="linear"),
    Mask2FormerSpec(name="mask2former", **SMALL),
    *(load_segmenter({"name": name}) for name in ("unet", "upernet", "segformer", "fpn")),
    *(load_segmenter({"name": name}) for name in ("deeplabv3plus", "unet_plain")),
]


def fingerprint(module):
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_head_does_not_depend_on_what_the_encoder_drew(spec, make_encoder):
    heads = []
    for draws in (0, 1001):
        torch.manual_seed(draws)
        heads.append(fingerprint(build_segmenter(spec, make_encoder(draws), 3, seed=7).head))
    assert heads[0] == heads[1]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_another_seed_is_another_head(spec, make_encoder):
    encoder = make_encoder()
    assert (
        len({fingerprint(build_segmenter(spec, encoder, 3, seed).head) for seed in range(3)}) == 3
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_building_leaves_the_global_generator_alone(spec, make_encoder):
    encoder = make_encoder()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build_segmenter(spec, encoder, 3, seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_heads_that_do_not_divide_the_width(make_encoder):
    spec = Mask2FormerSpec(name="mask2former", **{**SMALL, "heads": 3})
    with pytest.raises(InputError, match=r"3 does not divide segmenter.hidden \(32\)"):
        build_segmenter(spec, make_encoder(), 3, seed=0)


@pytest.mark.parametrize(
    ("head", "widths", "strides", "words"),
    [
        ("conv_transpose", (32, 32), (16, 16), r"reads one map.*tap0, tap1.*taps: \[1\.0\]"),
        ("conv_transpose", (12,), (16,), "12, which 8 does not divide"),
        ("unet_plain", (32,), (16,), "strides double.*tap0 at stride 16"),
        ("unet_plain", (32, 32), (4, 16), "strides double.*tap0 at stride 4, tap1 at stride 16"),
        ("unet", (32, 32), (4, 16), "unet reads a pyramid p2, p3, p4, p5.*tap0, tap1"),
        ("deeplabv3plus", (32,), (16,), "deeplabv3plus reads a pyramid.*Use a neck"),
    ],
)
def test_maps_that_a_decoder_cannot_read(head, widths, strides, words, make_bare_encoder):
    encoder = make_bare_encoder(widths, strides)
    with pytest.raises(InputError, match=words) as raised:
        build_segmenter(load_segmenter(head), encoder, 3, seed=0)
    assert "\n" not in str(raised.value)


def test_what_no_level_that_is_read_depends_on_does_not_learn(make_encoder):
    encoder = make_encoder()
    freeze_unread(encoder, ("p2", "p5"))
    learns = [{value.requires_grad for value in part.parameters()} for part in encoder.neck.levels]
    assert learns == [{True}, {False}, {False}, {True}]
    with pytest.raises(InputError, match=r"level 'p6'.*p2, p3, p4, p5"):
        freeze_unread(encoder, ("p6",))
