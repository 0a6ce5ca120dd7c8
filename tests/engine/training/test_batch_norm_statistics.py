"""Estimated BatchNorm statistics are those of the images, and make a random body's maps rich."""

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.freezing import fixed_batch_norms
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.training.batch_norm_statistics import estimate_statistics
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.errors import InputError


def segmenter_of(freeze="body"):
    spec = EncoderSpec(name="darknet_tiny", weights="random", channels=32, freeze=freeze)
    return build_segmenter(LinearSpec(name="linear"), build_encoder(spec), 3, seed=0)


def images(count=12, size=64):
    """Smooth random fields: neighbouring pixels are alike, as in photos."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coarse = torch.rand(count, 3, 8, 8) * torch.rand(count, 3, 1, 1)
        fields = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
        return (255 * fields).to(torch.uint8)


def statistics(segmenter):
    return {name: value.clone() for name, value in segmenter.named_buffers() if "running" in name}


@pytest.fixture(scope="module")
def estimated():
    """Images, and a segmenter whose body has the statistics of all of them at once."""
    seen, segmenter = images(), segmenter_of()
    estimate_statistics(segmenter, [seen])
    return seen, segmenter


@pytest.mark.parametrize("sizes", [[12], [5, 7], [4, 4, 4]], ids=str)
def test_the_first_layers_are_exact(sizes):
    segmenter, seen = segmenter_of(), images()
    stem = segmenter.encoder.body.stem.conv1
    with torch.no_grad():
        normalized = (seen.double() - segmenter.mean) / segmenter.std
        inputs = torch.nn.functional.conv2d(normalized, stem.conv.weight.double(), padding=1)
    channels = inputs.transpose(0, 1).flatten(1)
    estimate_statistics(segmenter, seen.split(sizes))
    assert torch.allclose(stem.bn.running_mean.double(), channels.mean(1), rtol=1e-5, atol=1e-6)
    assert torch.allclose(stem.bn.running_var.double(), channels.var(1, correction=0), rtol=1e-5)


def test_every_layer_is_exact_where_all_images_pass_at_once(estimated):
    """In evaluation each BatchNorm then gives mean 0 and variance 1 on the same images."""
    seen, segmenter = estimated
    outputs = []
    norms = fixed_batch_norms(segmenter.encoder)

    def keep(_norm, _inputs, output):
        outputs.append(output.clone())  # the activation works in place

    handles = [norm.register_forward_hook(keep) for norm in norms]
    with torch.no_grad():
        segmenter.eval().features(seen)
    for handle in handles:
        handle.remove()
    assert len(outputs) == len(norms) > 10
    for output in outputs:
        channels = output.transpose(0, 1).flatten(1)
        assert channels.mean(1).abs().max() < 1e-3
        # a channel whose variance is near BatchNorm's eps has less than 1
        assert 0.9 < channels.var(1).median() < 1.1


def test_the_division_into_batches_matters_little(estimated):
    seen, segmenter = estimated
    whole = statistics(segmenter)
    for batches in (seen.split(6), seen.flip(0).split(6)):
        divided = segmenter_of()
        estimate_statistics(divided, batches)
        found = statistics(divided)
        deviations = {
            name: ((found[name] - value).norm() / value.norm()).item()
            for name, value in whole.items()
            if name.startswith("encoder.")
        }
        assert max(deviations.values()) < 0.5


def dimensions(segmenter, seen):
    """How many directions the last map varies in: the participation ratio of its covariance."""
    with torch.no_grad():
        last = segmenter.eval().features(seen).maps[-1]
    covariance = torch.cov(last.transpose(0, 1).flatten(1).double())
    return covariance.trace() ** 2 / covariance.square().sum()


def test_channels_of_a_random_body_cease_to_be_copies_of_each_other(estimated):
    seen, segmenter = estimated
    assert dimensions(segmenter_of(), seen) < 5
    assert dimensions(segmenter, seen) > 20


def test_nothing_else_changes():
    segmenter = segmenter_of(freeze=2).train()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    fixed = set(fixed_batch_norms(segmenter.encoder))
    names = {name for name, module in segmenter.named_modules() if module in fixed}
    estimate_statistics(segmenter, [images(4)])
    changed = {
        name
        for name, value in segmenter.state_dict().items()
        if not torch.equal(value, before[name])
    }
    ends = ("running_mean", "running_var")
    assert changed == {f"{name}.{end}" for name in names for end in ends}
    assert 0 < len(names) < len([m for m in segmenter.modules() if hasattr(m, "running_var")])
    assert segmenter.training
    assert not any(norm.training for norm in fixed)


def test_a_single_pixel_has_no_variance():
    with pytest.raises(InputError, match="one pixel"):
        estimate_statistics(segmenter_of(), [images(1, 32)])
