"""Rules 13 and 18, and memory that does not grow with the number of images."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

MASK2FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=64
)


def make(spec):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    return build_segmenter(spec, encoder, 3, 0).eval()


def test_predictions_are_compared_at_each_masks_own_size(terrain):
    """Images are shrunk to 48, masks stay at 64: the scores go straight from stride 4 to 64, then
    argmax."""
    segmenter = make(LinearSpec(name="linear"))
    spec = AugmentationSpec(short_side=48)
    dataset = FolderDataset(terrain, "test")
    result = evaluate(
        segmenter, evaluation_items(dataset, range(8), spec), 3, make_accelerator("cpu")
    )
    expected = np.zeros((3, 3), np.int64)
    with torch.inference_mode():
        for item in evaluation_items(dataset, range(8), spec):
            assert item.image.shape == (3, 48, 48)
            assert item.mask.shape == (64, 64)
            maps = segmenter.predict(item.image[None]).maps
            # padded to 64: the maps cover 64 pixels, of which 48 are image
            scores = F.interpolate(maps, scale_factor=4 * 64 / 48, mode="bilinear")[0, :, :64, :64]
            for truth, guess in zip(
                item.mask.flatten().tolist(), scores.argmax(0).flatten().tolist(), strict=True
            ):
                if truth != 255:
                    expected[truth, guess] += 1
    assert result.confusion.counts.sum() == expected.sum()
    assert (
        np.abs(result.confusion.counts - expected).sum() <= 4
    )  # float rounding at the borders of classes


def test_mask2former_upsamples_logits_and_never_goes_through_384():
    segmenter = make(MASK2FORMER)
    with torch.inference_mode():
        maps = segmenter.predict(torch.randint(0, 256, (1, 3, 64, 96)))
        scores = maps.at((100, 150))
        logits = F.interpolate(maps.maps, size=(100, 150), mode="bilinear", align_corners=False)
        expected = torch.einsum("bkq,bqhw->bkhw", maps.mixing, logits.sigmoid())
        detour = F.interpolate(
            maps.maps, size=(384, 384), mode="bilinear", align_corners=False
        ).sigmoid()
        detour = F.interpolate(
            torch.einsum("bkq,bqhw->bkhw", maps.mixing, detour), size=(100, 150), mode="bilinear"
        )
    assert torch.allclose(scores, expected, atol=1e-6)
    assert (scores - detour).abs().max() > 1e-4


def test_nothing_is_kept_of_an_image():
    segmenter = make(LinearSpec(name="linear"))
    seen = []
    alive = []

    def items():
        for index in range(6):
            item = EvaluationItem(
                torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(64, 64).long(), str(index)
            )
            seen.append(weakref.ref(item.image))
            yield item
            del item
            gc.collect()
            alive.append(sum(reference() is not None for reference in seen))

    result = evaluate(segmenter, items(), 3, make_accelerator("cpu"), keep_pictures=0)
    assert result.confusion.counts.sum() == 6 * 64 * 64
    assert max(alive) <= 1


def test_training_mode_is_restored_and_pictures_are_kept(terrain):
    segmenter = make(LinearSpec(name="linear")).train()
    items = evaluation_items(FolderDataset(terrain, "val"), range(4), AugmentationSpec())
    result = evaluate(segmenter, items, 3, make_accelerator("cpu"), keep_pictures=2)
    assert segmenter.training
    assert [picture.id for picture in result.pictures] == FolderDataset(terrain, "val").ids[:2]
    assert result.pictures[0].prediction.shape == result.pictures[0].truth.shape == (64, 64)


def test_an_unknown_id_is_named_with_its_image():
    segmenter = make(LinearSpec(name="linear"))
    image, mask = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(64, 64, dtype=torch.int64)
    mask[3, 4] = 3
    with pytest.raises(InputError, match=r"^street_7: .*class id 3 .*0\.\.2, or 255"):
        evaluate(segmenter, [EvaluationItem(image, mask, "street_7")], 3, make_accelerator("cpu"))
