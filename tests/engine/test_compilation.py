"""Compiled layers: which ones, the same loss within rounding, and no effect on evaluation."""

from functools import partial

import pytest
import torch

from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.compilation import as_written, compile_layers, repeated_layers
from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.checkpointing.saving import Agreement
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec

ENCODER = EncoderSpec(name="test_vit", weights="random", channels=32)
FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=2, decoder_layers=2, points=64
)
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def forget_programs():
    yield
    torch._dynamo.reset()


def segmenter_of(head):
    return build_segmenter(head, build_encoder(ENCODER), 3, 0).train()


def losses(segmenter):
    torch.manual_seed(0)
    return segmenter.loss(IMAGES, MASKS)


def test_blocks_and_layers_are_compiled_and_nothing_within_them():
    segmenter = segmenter_of(FORMER)
    found = set(repeated_layers(segmenter))
    names = {name for name, module in segmenter.named_modules() if module in found}
    assert {name.split(".layers.")[0] for name in names if ".layers." in name} >= {
        "head.pixel_decoder.encoder",
        "head.transformer_module.decoder",
    }
    assert any(".blocks." in name for name in names)
    within = [name for name in names for other in names if name.startswith(f"{other}.")]
    assert not within


@pytest.mark.slow
def test_the_loss_and_names_stay_and_evaluation_computes_as_written():
    plain, compiled = segmenter_of(FORMER), segmenter_of(FORMER)
    compile_layers(compiled, backend="aot_eager")
    assert list(plain.state_dict()) == list(compiled.state_dict())
    expected, found = losses(plain), losses(compiled)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    sum(found.values()).backward()
    assert all(each.grad is not None for each in compiled.parameters() if each.requires_grad)
    items = [EvaluationItem(IMAGES[0].byte(), MASKS[0], "a")]
    counts = [evaluate(each, items, 3, make_accelerator("cpu")) for each in (plain, compiled)]
    assert (counts[0].confusion.counts == counts[1].confusion.counts).all()


def test_evaluation_takes_no_program(monkeypatch):
    segmenter, called = segmenter_of(LinearSpec(name="linear")), []

    def backend(graph, _inputs):
        called.append(graph)
        return graph.forward

    compile_layers(segmenter, backend=backend)
    with as_written(segmenter), torch.no_grad():
        segmenter.predict(IMAGES)
    assert not called
    segmenter.loss(IMAGES, MASKS)
    assert called


def test_cost_is_measured_as_written():
    """FLOPs are counted in a trace, and PyTorch traces no compiled layer."""
    plain, compiled = (
        segmenter_of(LinearSpec(name="linear")),
        segmenter_of(LinearSpec(name="linear")),
    )
    compile_layers(compiled, backend="eager")
    compiled.loss(IMAGES, MASKS)
    costs = [measure_cost(each, (64, 64), (1,), seconds=0.01) for each in (plain, compiled)]
    assert costs[0].flops == costs[1].flops > 0
    assert any(each._compiled_call_impl is not None for each in compiled.modules())


def test_the_recipe_asks_for_it(monkeypatch):
    from encoder_ablations.engine.training import steps

    asked = []
    monkeypatch.setattr(steps, "compile_layers", asked.append)
    segmenter, accelerator = segmenter_of(LinearSpec(name="linear")), make_accelerator("cpu")
    for recipe in (Recipe(), Recipe(compile=True)):
        optimizer = build_optimizer(segmenter, recipe.optimizer)
        step = PlainStep(StepSetup(segmenter, optimizer, recipe, accelerator))
    assert asked == [segmenter]
    batch = [MicroBatch(IMAGES, MASKS)]
    assert step.take(batch, partial(Agreement(accelerator).reduce, step=0)) > 0


def test_only_runs_that_compile_have_another_id():
    assert "compile" not in Recipe().model_dump()
    assert Recipe(compile=True).model_dump()["compile"] is True
    assert RunSpec.model_fields["recipe"].annotation is Recipe


@pytest.mark.slow
@pytest.mark.parametrize("part", ["body", "linear", "mask2former"])
def test_graphs_do_not_break(part):
    """Every break costs kernels: body, linear head and Mask2Former's networks are one graph each.
    Its loss is not compiled: which segments a mask has decides shapes."""
    head = FORMER if part == "mask2former" else LinearSpec(name="linear")
    segmenter = segmenter_of(head)
    images = IMAGES.float()
    module, given = segmenter.encoder, images
    if part != "body":
        module, given = segmenter.head, segmenter.encoder(images)
    found = torch._dynamo.explain(module)(given)
    assert found.graph_break_count == 0, found.break_reasons
