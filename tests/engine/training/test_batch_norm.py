"""BatchNorm over all processes equals PyTorch's where there is one, and runs that it cannot help
are told."""

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import (
    WholeBatchNorm,
    check_images,
    images_per_statistic,
    learning_norms,
    synchronise,
)
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def one_process():
    """A world of one: the arithmetic is that of many."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": None},
        {"affine": False},
        {"track_running_stats": False},
        {"eps": 0.1, "momentum": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, (6, 4)), (nn.BatchNorm2d, (2, 4, 3, 5)), (BatchNormAct2d, (2, 4, 3, 5))],
)
def test_equals_pytorchs(one_process, kind, shape, options):
    torch.manual_seed(0)
    model = nn.Sequential(kind(4, **options).double())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    results = []
    for _ in range(2):
        inputs = (
            torch.linspace(-3, 2, torch.Size(shape).numel()).double().view(shape).requires_grad_()
        )
        state = {name: value.clone() for name, value in model.state_dict().items()}
        model.train().zero_grad()
        outputs = model(inputs), model(inputs.detach() * 2 + 1)
        (outputs[0] ** 3).sum().backward()
        gradients = [inputs.grad, *(each.grad.clone() for each in model.parameters())]
        evaluated = model.eval()(inputs.detach())
        results.append(
            [*outputs, *gradients, *(each.double().clone() for each in model.buffers()), evaluated]
        )
        model.load_state_dict(state)
        synchronise(model)
    assert isinstance(model[0], WholeBatchNorm)
    assert model.state_dict().keys() == state.keys()
    for theirs, ours in zip(*results, strict=True):
        assert torch.allclose(theirs, ours, atol=1e-12)


def test_the_optimiser_goes_on_with_the_same_parameters_and_frozen_ones_stay(one_process):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    kept = list(model.parameters())
    model.train = lambda mode=True: model  # as an encoder does with what is frozen
    model[1].eval()
    synchronise(model)
    assert [type(each) for each in model] == [WholeBatchNorm, nn.BatchNorm2d]
    assert all(now is before for now, before in zip(model.parameters(), kept, strict=True))


class WithActivation(nn.BatchNorm2d):
    """It does more than to normalise."""


def test_a_batch_norm_that_is_more_than_that_is_refused(one_process):
    with pytest.raises(InputError, match="WithActivation"):
        synchronise(nn.Sequential(WithActivation(3)))


def model_of(name, freeze="none", segmenter=True):
    encoder = build_encoder(EncoderSpec(name=name, weights="random", channels=32, freeze=freeze), 0)
    return build_segmenter(LinearSpec(name="linear"), encoder, 3, 0) if segmenter else encoder


def test_every_batch_norm_of_an_efficientnet_is_over_all_processes(one_process):
    segmenter = model_of("test_efficientnet")
    names = segmenter.state_dict().keys()
    before = learning_norms(segmenter)
    synchronise(segmenter)
    assert len(before) > 10
    assert all(isinstance(each, WholeBatchNorm) for each in learning_norms(segmenter))
    assert segmenter.state_dict().keys() == names


def test_which_runs_see_parts_of_their_batch():
    whole, parts = Recipe(batch_size=8), Recipe(batch_size=8, accumulation=4)
    head = model_of("test_vit", "body")
    assert images_per_statistic(head, whole) is None
    assert images_per_statistic(head, parts) == 2
    assert images_per_statistic(head.eval(), parts) == 2
    assert not head.training
    assert images_per_statistic(model_of("darknet_tiny", segmenter=False), parts) == 2
    assert images_per_statistic(model_of("darknet_tiny", "body", segmenter=False), parts) is None
    assert len(learning_norms(model_of("darknet_tiny", "body"))) == 1


@pytest.mark.parametrize("head", ["upernet", "deeplabv3plus"])
def test_batch_norm_of_means_over_single_images_is_refused(head):
    """PyTorch would refuse it, too, but in the middle of the first step."""
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    batch, group = (
        build_segmenter(load_segmenter({"name": head, "hidden": 32, "norm": norm}), encoder, 3, 0)
        for norm in ("batch", "group")
    )
    one = Recipe(batch_size=4, accumulation=4)
    with pytest.raises(InputError, match=r"needs 2 images.*gives 1.*segmenter\.norm=group"):
        check_images(batch, one)
    check_images(batch, Recipe(batch_size=4, accumulation=2))
    check_images(group, one)
    images, masks = torch.zeros(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.int64)
    assert group.train().loss(images, masks)["cross_entropy"].isfinite()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch.train().loss(images, masks)
