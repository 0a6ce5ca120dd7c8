"""EoMT against transformers' model with the same weights, its annealing, and what trains."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.nn import functional as F
from transformers import EomtConfig, EomtForUniversalSegmentation

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.features import BodyInput
from encoder_ablations.segmenters.heads.eomt import EomtHead
from encoder_ablations.segmenters.losses.point_sampling import Points
from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import EomtSpec
from encoder_ablations.utils.errors import InputError
from tests.encoders.small_vits import SIDE, small_encoder

CLASSES, QUERIES, WIDTH, DEPTH, BLOCKS = 5, 6, 64, 4, 3
NAMES = {
    "norm.": "layernorm.",
    "blocks.": "layers.",
    ".attn.proj.": ".attention.out_proj.",
    ".ls1.gamma": ".layer_scale1.lambda1",
    ".ls2.gamma": ".layer_scale2.lambda1",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings.weight",
    "queries.": "query.",
    "mask_predictor.mlp.0.": "mask_head.fc1.",
    "mask_predictor.mlp.2.": "mask_head.fc2.",
    "mask_predictor.mlp.4.": "mask_head.fc3.",
    "mask_predictor.upscale.": "upscale_block.block.",
    ".norm.weight": ".layernorm2d.weight",
    ".norm.bias": ".layernorm2d.bias",
}
"""Ours (timm's) -> those of transformers; the first that fits, for weights of a kind."""


def spec_of(**settings):
    sizes = {"queries": QUERIES, "blocks": BLOCKS, "points": 100}
    return EomtSpec(name="eomt", **sizes | settings)


@pytest.fixture
def make(monkeypatch):
    """make(encoder, **settings) -> a segmenter on a small body."""

    def make_it(encoder="dinov2_reg_s14", freeze="none", **settings):
        fields = {"neck": "none", "freeze": freeze}
        if encoder == "dinov2_reg_s14":
            fields["grid"] = "resampled_patch"
        built = small_encoder(monkeypatch, encoder, **fields)
        return build_segmenter(spec_of(**settings), built, CLASSES, seed=0)

    return make_it


def renamed(name):
    for ours, theirs in NAMES.items():
        if name.startswith(ours) or (ours.startswith(".") and ours in name):
            name = name.replace(ours, theirs, 1)
    return name


def transformers_model(segmenter):
    """The same network of transformers, with our weights."""
    config = EomtConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=16,
        num_blocks=BLOCKS,
        num_queries=QUERIES,
        num_labels=CLASSES,
        num_upscale_blocks=2,
        train_num_points=100,
    )
    model = EomtForUniversalSegmentation(config)
    state = {}
    own = segmenter.encoder.body.model.state_dict() | segmenter.head.state_dict()
    for name, value in own.items():
        if ".attn.qkv." in name:
            kind = name.rpartition(".")[2]
            for part, each in zip("qkv", value.chunk(3), strict=True):
                layer = renamed(name).replace("attn.qkv", f"attention.{part}_proj")
                state[layer] = each
                assert layer.endswith(kind)
        else:
            state[renamed(name)] = value
    # timm's, for the 7×7 patches of these images
    positions = resample_abs_pos_embed(own["pos_embed"], [7, 7], num_prefix_tokens=0)
    state["embeddings.position_embeddings.weight"] = positions[0]
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"attn_mask_probs", "criterion.empty_weight"}
    return model


def given(segmenter, images):
    return BodyInput(segmenter.encoder.body.as_blocks(), images)


def noise(size=(SIDE, SIDE), images=2):
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(0))


def blocks_of_classes(size=(SIDE, SIDE), images=2):
    generator = torch.Generator().manual_seed(0)
    low = torch.randint(0, CLASSES, (images, 1, size[0] // 16, size[1] // 16), generator=generator)
    return F.interpolate(low.float(), size=size).squeeze(1).long()


def noted(model):
    """Class and mask logits of every prediction of transformers' model, in a list that fills."""
    found = []
    predict = model.predict

    def note(logits):
        masks, classes = predict(logits)
        found.append((classes, masks))
        return masks, classes

    model.predict = note
    return found


@pytest.mark.parametrize("probability", [1.0, 0.0])
def test_predictions_equal_transformers(make, probability):
    segmenter = make()
    stock = transformers_model(segmenter).train()
    stock.attn_mask_probs.fill_(probability)
    expected = noted(stock)
    segmenter.train()
    with torch.no_grad():
        stock(noise())
        found = segmenter.head.predictions(given(segmenter, noise()), [probability] * BLOCKS)
    assert len(found) == len(expected) == BLOCKS + 1
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            scale = max(1.0, other.abs().max().item())
            assert (one - other).abs().max() <= 1e-5 * scale


def test_masks_matter(make):
    """Otherwise the comparison with transformers would not show a mask that is not applied."""
    segmenter = make()
    with torch.no_grad():
        free, masked = (
            segmenter.head.predictions(given(segmenter, noise()), [each] * BLOCKS)[-1][1]
            for each in (0.0, 1.0)
        )
    assert (free - masked).abs().max() > 1e-2


def test_the_loss_and_its_gradients_equal_transformers(make, monkeypatch):
    segmenter = make()
    stock = transformers_model(segmenter).train()
    masks = blocks_of_classes()
    present = [mask.unique() for mask in masks]
    segments = [
        (mask == own[:, None, None]).float() for mask, own in zip(masks, present, strict=True)
    ]
    torch.manual_seed(1)
    theirs = stock(noise(), mask_labels=segments, class_labels=present).loss
    theirs.backward()

    head, draw = segmenter.head, segmenter.head.set_loss.draw
    head.set_loss.official_order = True

    def final_first(number, targets):
        # transformers draws points for the final prediction last
        points = draw(number, targets)
        return Points(*(each.roll(1, dims=0) for each in vars(points).values()))

    monkeypatch.setattr(head.set_loss, "draw", final_first)
    torch.manual_seed(1)
    terms = head.train().loss(given(segmenter, noise()), masks, head.totals(masks))
    ours = sum(terms.values())
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    pairs = [
        (head.queries.weight, stock.query.weight),
        (head.mask_predictor.mlp[0].weight, stock.mask_head.fc1.weight),
        (segmenter.encoder.body.model.norm.weight, stock.layernorm.weight),
        (segmenter.encoder.body.model.blocks[0].mlp.fc1.weight, stock.layers[0].mlp.fc1.weight),
    ]
    for one, other in pairs:
        assert (one.grad - other.grad).abs().max() <= 1e-4 * other.grad.abs().max()


def test_scores_are_semantic_inference_of_the_final_prediction(make):
    """Mask logits at full size, then mixed by the class probabilities without "no object"."""
    segmenter = make().eval()
    images = torch.randint(0, 256, (2, 3, 75, 101), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = segmenter.scores(images)
        padded = segmenter._normalized(images)
        classes, masks = segmenter.head.predictions(given(segmenter, padded), [0.0] * BLOCKS)[-1]
        full = F.interpolate(masks, size=padded.shape[-2:], mode="bilinear")[..., :75, :101]
        expected = torch.einsum("bqk,bqhw->bkhw", classes.softmax(-1)[..., :-1], full.sigmoid())
    assert padded.shape[-2:] == (80, 112)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "starts"),
    [
        (4, [6520, 13040, 19560, 26080]),  # configs/dinov2/ade20k/semantic/eomt_large_512.yaml
        (3, [6520, 16300, 26080]),  # eomt_base_640.yaml: 14782, 36955, 59128 of 88716
    ],
)
def test_annealing_is_that_of_the_repository(make, blocks, starts):
    """``mask_annealing`` of training/lightning_module.py, at the steps of its configurations."""
    head, steps = make(blocks=blocks).head, 39120
    for step in range(0, steps + 1, 652):
        head.progressed(step / steps)
        for index, start in enumerate(starts):
            end = start + 6520
            expected = (1 - (step - start) / (end - start)) ** 0.9 if start < step < end else None
            if step <= start:
                expected = 1
            if step >= end:
                expected = 0
            assert head._probability(index) == pytest.approx(expected, abs=1e-9)


def masks_used(segmenter, done):
    """How many (query, image) pairs are masked in each block at this progress."""
    found, model = [], segmenter.encoder.body.model

    def note(_module, _inputs, options):
        mask = options.get("attn_mask")
        found.append(None if mask is None else int((~mask).any(-1).sum()))

    for block in model.blocks:
        block.register_forward_pre_hook(note, with_kwargs=True)
    segmenter.head.progressed(done)
    torch.manual_seed(0)
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.int64)
    segmenter.train().loss(torch.full((2, 3, SIDE, SIDE), 100.0), masks)
    return found


def test_masks_vanish_block_after_block(make):
    first = masks_used(make(queries=200), 0.0)
    assert first[0] is None
    assert min(first[1:]) > 0
    some = masks_used(make(queries=200), 0.25)
    # half of the first span: the first block masks (1 - 0.5)^0.9 of the queries
    assert some[1] == pytest.approx(0.5**0.9 * first[1], rel=0.25)
    assert some[2] > 0
    late = masks_used(make(queries=200), 0.6)
    assert late[1:3] == [None, None]
    assert late[3] > 0
    assert masks_used(make(), 0.9) == [None] * DEPTH


@pytest.mark.parametrize("kind", ["annealed", "always", "never"])
def test_predictions_depend_on_the_weights_alone(make, kind):
    """Neither on progress nor on random numbers."""
    segmenter = make(masked_attention=kind).eval()
    images = torch.randint(0, 256, (1, 3, 64, 80), generator=torch.Generator().manual_seed(0))
    found = []
    for done in (0.0, 0.25, 1.0):
        segmenter.head.progressed(done)
        state = torch.get_rng_state()
        with torch.no_grad():
            found.append(segmenter.scores(images))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_never_learns_from_the_last_prediction_alone(make):
    drawn = []
    segmenter = make(masked_attention="never").train()
    draw = segmenter.head.set_loss.draw
    segmenter.head.set_loss.draw = lambda number, targets: (
        drawn.append(number) or draw(number, targets)
    )
    segmenter.loss(torch.zeros(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.int64))
    assert drawn == [1]


def test_micro_batches_add_up_to_the_batch(make):
    """Rule 22, with the same points and without random masks."""
    segmenter = make().train()
    head, masks = segmenter.head, blocks_of_classes((70, 90), images=3)
    masks[0, :30], masks[2] = 255, 255
    images = noise((70, 90), images=3) * 50 + 120
    head.progressed(0.0)
    head.set_loss.official_order = True  # the same points for parts of the batch
    totals = head.totals(segmenter._pad(masks, 255))
    targets = find_targets(segmenter._pad(masks, 255), CLASSES)
    whole = head.set_loss.draw(BLOCKS + 1, targets)
    counts = [len(own) for own in targets.classes]
    gradients = []
    for parts in ([range(3)], [range(1), range(1, 3)]):
        segmenter.zero_grad()
        for part in parts:
            begin = sum(counts[: part.start])
            pairs = slice(begin, begin + sum(counts[each] for each in part))
            own = Points(
                whole.matching[:, part.start : part.stop],
                whole.candidates[:, pairs],
                whole.random[:, pairs],
            )
            head.set_loss.draw = lambda *_, own=own: own
            chosen = slice(part.start, part.stop)
            sum(segmenter.loss(images[chosen], masks[chosen], totals).values()).backward()
        gradients.append(torch.cat([each.grad.flatten() for each in segmenter.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-4 * gradients[0].abs().max()


@pytest.mark.parametrize("freeze", ["none", "body", 2, "all_but_norms"])
@pytest.mark.parametrize("encoder", ["dinov3_s16", "mae_b16", "pe_spatial_b16"])
def test_what_learns_gets_a_gradient_and_what_is_frozen_stays(make, encoder, freeze):
    segmenter = make(encoder, freeze=freeze).train()
    assert not list(segmenter.encoder.neck.parameters())
    images = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    sum(segmenter.loss(images, blocks_of_classes((64, 96))).values()).backward()
    for name, parameter in segmenter.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    learns = any(each.requires_grad for each in segmenter.encoder.body.parameters())
    assert learns == (freeze != "body")
    assert segmenter.encoder.body_is_frozen == (freeze == "body")
    assert not segmenter.reads_features


@pytest.mark.parametrize(
    ("patch", "encoder", "stride"),
    [(16, "clip_b16", 4), (32, "clip_b32", 4), (14, "vit_small_patch14_dinov2.lvd142m", 7)],
)
def test_mask_logits_are_at_the_stride_of_the_repository(make, patch, encoder, stride):
    segmenter = make(encoder).eval()
    assert segmenter.encoder.body.patch == patch
    with torch.no_grad():
        maps = segmenter.predict(torch.zeros(1, 3, 75, 101))
    assert maps.stride == segmenter.head.stride == stride
    assert maps.maps.shape[-1] * stride == patch * -(-101 // patch)
    assert maps.at((75, 101)).shape == (1, CLASSES, 75, 101)


@pytest.mark.parametrize(("depth", "count"), [(2, 2), (12, 3), (24, 4), (40, 5)])
def test_the_number_of_blocks_is_the_papers(depth, count):
    class Deep:
        width, reduction = 8, 16.0

    Deep.depth = depth
    assert EomtHead(spec_of(blocks=None), CLASSES, Deep).count == count


@pytest.mark.parametrize(
    ("encoder", "settings", "words"),
    [
        ({"name": "test_vit", "neck": "none"}, {"blocks": 7}, "has 6. Allowed: 1..6"),
        ({"name": "test_vit"}, {}, "eomt reads the body itself.*neck: none"),
        ({"name": "test_vit", "neck": "none", "taps": [0.5]}, {}, "without its last blocks"),
        ({"name": "test_resnet", "neck": "none"}, {}, "eomt.*plain vision"),
        ({"name": "darknet_tiny", "neck": "none"}, {}, "eomt.*plain vision"),
        ({"name": "naflexvit_base_patch16_siglip", "neck": "none"}, {}, "NaFlexVit takes none"),
    ],
)
def test_encoders_that_do_not_fit(encoder, settings, words):
    channels = {} if encoder.get("neck") == "none" else {"channels": 32}
    with torch.device("meta"):
        built = build_encoder(EncoderSpec(weights="random", **channels, **encoder))
    with pytest.raises(InputError, match=words) as raised:
        build_segmenter(spec_of(**settings | {"blocks": settings.get("blocks", 2)}), built, 3, 0)
    assert "\n" not in str(raised.value)


def test_the_yaml_has_the_repositorys_settings():
    spec = load_segmenter("eomt")
    assert (spec.queries, spec.points, spec.blocks) == (100, 12544, None)
    assert (spec.class_weight, spec.mask_weight, spec.dice_weight) == (2.0, 5.0, 5.0)
