"""Which heads can learn from images that are mixed (MixUp, CutMix, ClassMix)."""

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError


def check_blends(segmenter: Segmenter, recipe: Recipe) -> None:
    """Check that a head can learn from the masks that the recipe makes.

    Raises:
        InputError: the recipe blends images, and the head's loss takes one mask of each; or it
            mixes them, and the class of the whole image is learnt, too.
    """
    mix = recipe.augmentation.mix
    if mix is not None and segmenter.image_head is not None:
        raise InputError(
            f"recipe.augmentation.mix: {mix.kind} shows two images in one, but "
            "segmenter.image_head learns one class of each. Leave out one of the two."
        )
    if mix is None or mix.kind != "mixup" or segmenter.head.learns_blends:
        return
    head = type(segmenter.head).__name__
    raise InputError(
        f"recipe.augmentation.mix: mixup gives each image two masks, but the loss of {head} takes "
        "one. Use cutmix or classmix, or a dense head such as linear or upernet."
    )
