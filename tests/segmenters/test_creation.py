"""Encoders and segmenters made in one call each, as the front door offers them."""

import pytest
import torch

import encoder_ablations as ea

VIT = {"weights": "random", "channels": 32}


@pytest.fixture(scope="module")
def encoder():
    return ea.create_encoder("test_vit", **VIT)


def test_encoders_are_listed_by_a_pattern():
    found = ea.list_encoders("*dinov3*")
    assert "dinov3_b16" in found
    assert found == sorted(name for name in ea.list_encoders() if "dinov3" in name)
    assert "vit_small_patch16_dinov3" in ea.list_encoders("*dinov3*", timm=True)
    assert ea.list_encoders("dinov3_?16") == ["dinov3_b16", "dinov3_l16", "dinov3_s16"]
    assert ea.list_encoders("nothing like it") == []


def test_an_encoder_is_that_of_its_settings():
    spec = ea.load_encoder({"base": "test_vit", **VIT, "freeze": "body"})
    expected = ea.build_encoder(spec, seed=3)
    found = ea.create_encoder("test_vit", seed=3, freeze="body", **VIT)
    assert found.body_is_frozen
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_encoder_makes_a_pyramid_of_normalised_images(encoder):
    pyramid = encoder(torch.zeros(1, 3, 64, 96))
    shapes = {name: tuple(level.shape) for name, level in pyramid.items()}
    assert shapes == {
        "p2": (1, 32, 16, 24),
        "p3": (1, 32, 8, 12),
        "p4": (1, 32, 4, 6),
        "p5": (1, 32, 2, 3),
    }


def test_a_model_is_called_with_images(encoder):
    model = ea.create_segmenter("linear", encoder, classes=3).eval()
    images = torch.randint(0, 256, (2, 3, 50, 70))
    with torch.no_grad():
        scores = model(images)
        assert scores.shape == (2, 3, 50, 70)
        assert torch.equal(scores, model.scores(images))
    assert set(model.loss(images, torch.zeros(2, 50, 70, dtype=torch.int64))) == {"cross_entropy"}


def test_the_head_is_that_of_the_seed_and_its_settings(encoder):
    expected = ea.build_segmenter(ea.load_segmenter("upernet", {"hidden": 32}), encoder, 4, 7)
    found = ea.create_segmenter("upernet", encoder, 4, seed=7, hidden=32)
    own, other = found.head.state_dict(), expected.head.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in other)
    assert own.keys() == other.keys()


def test_classes_have_names(encoder):
    assert ea.create_segmenter("linear", encoder, 3).class_names == ("0", "1", "2")
    names = ["sky", "crater"]
    weights = {"cross_entropy": {"class_weights": {"crater": 5}}}
    model = ea.create_segmenter("linear", encoder, names, loss=weights)
    assert model.class_names == ("sky", "crater")
    balanced = {"cross_entropy": {"class_weights": "balanced"}}
    with pytest.raises(ea.InputError, match="Give a list of 2 numbers"):
        ea.create_segmenter("linear", encoder, names, loss=balanced)


@pytest.mark.parametrize("classes", [0, -1, [], "sky", ["sky", "sky"]])
def test_impossible_classes_are_refused(encoder, classes):
    with pytest.raises(ea.InputError, match="the number of classes, at least 1"):
        ea.create_segmenter("linear", encoder, classes)


def test_wrong_settings_are_one_line(encoder):
    with pytest.raises(ea.InputError, match=r"unknown key 'wieghts'.*'weights'"):
        ea.create_encoder("test_vit", wieghts="random")
    with pytest.raises(ea.InputError, match="unknown key 'hiden'"):
        ea.create_segmenter("upernet", encoder, 3, hiden=32)
