"""What patches attend to in single blocks: nothing that is blocked has any influence."""

import pytest
import torch

from encoder_ablations.segmenters.zero_shot.affinity import Guide
from encoder_ablations.segmenters.zero_shot.block_masks import mask_of, neighbours, rules_of
from encoder_ablations.segmenters.zero_shot.methods import (
    METHODS,
    BlockRule,
    SuperpixelSpec,
    find_method,
)
from encoder_ablations.segmenters.zero_shot.reading import WindowBatch, read
from encoder_ablations.segmenters.zero_shot.regions.patches import majority_ids
from encoder_ablations.utils.errors import InputError
from tests.segmenters.zero_shot.text_vit import TextViT

GRID = (4, 6)
LEFT = [row * 6 + column for row in range(4) for column in range(3)]
RIGHT = [row * 6 + column for row in range(4) for column in range(3, 6)]
REGIONS = BlockRule(blocks=(0, -1), attend="regions")


def halves():
    """1×16×24: two regions, of the first three columns of patches and of the others."""
    ids = torch.zeros(1, 16, 24, dtype=torch.long)
    ids[:, :, 12:] = 7
    return ids


def patches_of(image, rule, prefix="alone", affinity="vanilla"):
    method = find_method(
        "clip", affinity=affinity, plan=(rule,), regions=(SuperpixelSpec(source="superpixels"),)
    )
    found = read(TextViT(), WindowBatch(image, [halves()]), method, Guide(), prefix)
    return found.patches[0].flatten(1).T, found.class_token[0]


def changed_by(rule, perturbed, **settings):
    """Which patches change, and whether the class token does, if one patch of the image does."""
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    row, column = divmod(perturbed, 6)
    other[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 3
    with torch.no_grad():
        (before, token), (after, moved) = (
            patches_of(each, rule, **settings) for each in (image, other)
        )
    differs = (before != after).any(dim=1)
    return set(differs.nonzero().flatten().tolist()), not torch.equal(token, moved)


@pytest.mark.parametrize("affinity", ["vanilla", "qq_kk_vv", "kk_gaussian"])
def test_a_patch_of_another_region_has_exactly_no_influence(affinity):
    assert changed_by(REGIONS, LEFT[0], affinity=affinity) == (set(LEFT), False)
    assert changed_by(REGIONS, RIGHT[4], affinity=affinity) == (set(RIGHT), False)


def test_without_a_rule_everything_has_influence():
    free = BlockRule(blocks=(0, 0), attend="neighbours", radius=6)
    assert changed_by(free, 0)[0] == {*LEFT, *RIGHT}


def test_the_class_token_connects_regions_where_it_is_free():
    assert changed_by(REGIONS, 0, prefix="free") == ({*LEFT, *RIGHT}, True)


def test_radius_0_is_the_patch_itself():
    rule = BlockRule(blocks=(0, 2), attend="neighbours", radius=0)
    assert changed_by(rule, 8) == ({8}, False)


def test_neighbours_in_one_block():
    """In one block of three a patch reaches one row and column; the others keep to themselves."""
    method = find_method(
        "clip",
        plan=(
            BlockRule(blocks=(0, 2), attend="neighbours", radius=0),
            BlockRule(blocks=(-2, -2), attend="neighbours", radius=1),
        ),
    )
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[..., 4:8, 8:12] += 3  # row 1, column 2
    with torch.no_grad():
        before, after = (
            read(TextViT(), WindowBatch(each), method, Guide()).patches[0]
            for each in (image, other)
        )
    expected = torch.zeros(GRID, dtype=torch.bool)
    expected[0:3, 1:4] = True
    assert torch.equal((before != after).any(dim=0), expected)


def test_neighbours_by_hand():
    near = neighbours((2, 3), 1)
    assert near[0].tolist() == [True, True, False, True, True, False]
    assert torch.equal(neighbours((2, 3), 0), torch.eye(6, dtype=torch.bool))


def test_masks_are_bool_and_every_token_attends_to_itself():
    tokens = TextViT(prefix=2).embed(torch.zeros(1, 3, 16, 24))
    ids = [majority_ids(halves(), tokens.grid, 4.0)]
    mask = mask_of(REGIONS, tokens, ids, "alone")
    assert mask.shape == (1, 1, 26, 26)
    assert mask.dtype is torch.bool
    assert mask.diagonal(dim1=-2, dim2=-1).all()
    # prefix tokens: only themselves, and no patch reads them
    assert torch.equal(mask[0, 0, :2, :2], torch.eye(2, dtype=torch.bool))
    assert not mask[0, 0, :2, 2:].any()
    assert not mask[0, 0, 2:, :2].any()
    assert mask_of(None, tokens, ids, "alone") is None


def test_the_plan_of_reseg_in_24_blocks():
    """Blocks 0-17 free, 18-21 regions from fine to coarse, 22-23 each patch itself."""
    rules = rules_of(METHODS["reseg"].plan, 24)
    assert sorted(rules) == list(range(18, 24))
    assert [rules[block].regions for block in range(18, 22)] == [0, 1, 2, 3]
    assert all(rules[block].attend == "regions" for block in range(18, 22))
    assert all((rules[b].attend, rules[b].radius) == ("neighbours", 0) for b in (22, 23))
    points = [spec.points_per_side for spec in METHODS["reseg"].regions]
    areas = [spec.minimal_area for spec in METHODS["reseg"].regions]
    assert (points, areas) == ([4, 2, 2, 2], [500, 500, 1000, 2000])


def test_reseg_by_hand():
    """The tokens of a loop over the blocks, with masks made here."""
    model = TextViT()
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    plan = (
        BlockRule(blocks=(-2, -2), attend="regions", regions=1),
        BlockRule(blocks=(-1, -1), attend="neighbours"),
    )
    same = torch.eye(25, dtype=torch.bool)
    for group in (LEFT, RIGHT):
        for patch in group:
            same[patch + 1, [each + 1 for each in group]] = True
    with torch.no_grad():
        tokens = model.run(0, model.embed(image))
        tokens = model.run(2, model.run(1, tokens, same), torch.eye(25, dtype=torch.bool))
        expected = model.in_text_space(tokens)[0, 1:].T
        windows = WindowBatch(image, [torch.zeros_like(halves()), halves()])
        found = read(model, windows, find_method("reseg", plan=plan), Guide())
    assert torch.equal(found.patches[0].flatten(1), expected)


@pytest.mark.parametrize(
    ("blocks", "words"), [((0, 3), "block 3"), ((-4, 0), "block -4"), ((-1, 0), "in order")]
)
def test_a_plan_that_does_not_fit_the_encoder(blocks, words):
    with pytest.raises(InputError, match=words):
        rules_of([BlockRule(blocks=blocks, attend="neighbours")], 3)


def test_majority_ids_by_hand():
    ids = torch.tensor([[[5, 5, 9], [5, 9, 9], [0, 0, 7]]])
    # 2×2 pixels a patch; those at the border are smaller, and padding counts nowhere
    assert majority_ids(ids, (2, 2), 2.0).tolist() == [[5, 9, 0, 7]]
    # of two regions with equally many pixels the smaller id
    assert majority_ids(ids[:, :1, 1:], (1, 1), 2.0).tolist() == [[5]]


def test_majority_ids_of_patches_with_broken_sides():
    """Columns 0, 1 | 2 | 3, 4 lie in patches of 1.75 pixels: middles 0.5, 1.5 | 2.5 | 3.5, 4.5."""
    ids = torch.tensor([[[3, 3, 8, 4, 4]]])
    assert majority_ids(ids, (1, 3), 1.75).tolist() == [[3, 8, 4]]
