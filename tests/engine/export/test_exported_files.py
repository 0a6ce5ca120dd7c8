"""Files of exported models give what the run's own prediction gives, at any batch and size."""

import shutil
from typing import NamedTuple

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.export.comparison import as_photos, compare
from encoder_ablations.engine.export.errors import ExportError
from encoder_ablations.engine.export.onnx_file import convert, load_onnx, save_onnx
from encoder_ablations.engine.export.photo_model import PhotoModel
from encoder_ablations.engine.export.tracing import load_program, save_program, trace
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec, SegFormerSpec

pytest.importorskip("onnxscript", reason="the extra export is not installed")
CLASSES = ("background", "crater", "boulder")
HEADS = {
    "linear": LinearSpec(name="linear"),
    "segformer": SegFormerSpec(name="segformer"),
    "mask2former": Mask2FormerSpec(
        name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1
    ),
}


class Case(NamedTuple):
    encoder: str
    head: str
    size: tuple[int, int] | None = None
    short_side: int | None = None


def build(case):
    spec = EncoderSpec(name=case.encoder, weights="random", channels=32)
    segmenter = build_segmenter(HEADS[case.head], build_encoder(spec, 0), len(CLASSES), 0).eval()
    model = PhotoModel(segmenter, case.size, case.short_side)
    return model, Predictor([Member(segmenter, case.short_side)], CLASSES)


def assert_equal(runner, predictor, images):
    """The images, all of one size, in one batch."""
    found = runner(np.concatenate([as_photos(image) for image in images]))
    for image, labels, probabilities in zip(images, found.labels, found.probabilities, strict=True):
        expected = predictor.predict(image)
        np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
        # two probabilities may be equal up to rounding
        assert (labels == expected.mask).mean() > 0.999


def photos(number, size):
    return list(np.random.default_rng(0).integers(0, 256, (number, *size, 3), np.uint8))


CASES = [
    Case("darknet_tiny", "linear"),
    pytest.param(Case("darknet_tiny", "linear", (70, 91), 48), marks=pytest.mark.slow),
    pytest.param(Case("test_vit", "linear"), marks=pytest.mark.slow),
    pytest.param(Case("test_efficientnet", "segformer"), marks=pytest.mark.slow),
    pytest.param(Case("darknet_tiny", "mask2former", (45, 91)), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def files(request, tmp_path_factory):
    """(case, predictor, ONNX file, .pt2 file) of one trace."""
    case = request.param
    model, predictor = build(case)
    program = trace(model)
    folder = tmp_path_factory.mktemp("exported")
    if case.encoder == "test_vit":
        # timm rounds up by math.ceil, which PyTorch's files do not know of unknown sizes
        with pytest.raises(ExportError, match="pt2") as refused:
            save_program(program, folder / "model.pt2", {})
        assert not list(folder.iterdir())
        assert "ceil" not in str(refused.value)
        assert "ceil" in refused.value.details
    else:
        save_program(program, folder / "model.pt2", {"run": "a"})
    save_onnx(program, folder / "model.onnx", {"run": "a"}, "fp32")
    return case, predictor, folder / "model.onnx", folder / "model.pt2"


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_batches_and_sizes(files, kind):
    case, predictor, onnx_file, program_file = files
    if kind == "pt2" and not program_file.exists():
        pytest.skip("only at one size")
    runner = load_onnx(onnx_file) if kind == "onnx" else load_program(program_file)
    sizes = [case.size] if case.size else [(70, 90), (64, 96), (33, 41)]
    for size in sizes:
        assert_equal(runner, predictor, photos(2, size))
        assert_equal(runner, predictor, photos(1, size))


def test_a_model_of_one_size_refuses_others(files):
    case, _, onnx_file, _ = files
    if case.size is None:
        pytest.skip("it takes any size")
    with pytest.raises(Exception, match=f"Expected: {case.size[0]}"):
        load_onnx(onnx_file)(as_photos(photos(1, (64, 64))[0]))


def test_metadata_and_operators_are_standard(files):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(files[2])
    assert {"run": "a"}.items() <= {each.key: each.value for each in model.metadata_props}.items()
    assert {each.domain for each in model.opset_import} == {""}
    assert model.opset_import[0].version >= 18
    dimensions = [each.dim_param for each in model.graph.input[0].type.tensor_type.shape.dim]
    assert dimensions[0]
    assert bool(dimensions[2]) == (files[0].size is None)


def test_the_program_needs_no_operator_of_this_package(files):
    if files[0].head != "mask2former":
        pytest.skip("its head has none")
    program = torch.export.load(files[3])
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in operators if name.startswith("encoder_ablations")]


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.02), ("int8", 0.05)])
def test_smaller_precisions_stay_near(files, precision, most, tmp_path, caplog):
    _, predictor, onnx_file, _ = files
    shutil.copy(onnx_file, tmp_path)
    convert(tmp_path / "model.onnx", precision)
    # advice to developers of exporters is not shown to users
    assert not caplog.records
    size = files[0].size or (64, 96)
    samples = [Sample(image, None, "a", size, "a") for image in photos(2, size)]
    found = compare(load_onnx(tmp_path / "model.onnx"), predictor, samples)
    assert found.largest_difference < most
    if precision == "fp16":
        assert (tmp_path / "model.onnx").stat().st_size < 0.7 * onnx_file.stat().st_size


def test_comparisons_count_what_differs():
    model, predictor = build(Case("darknet_tiny", "linear"))
    truth = np.zeros((40, 50), np.int64)
    samples = [Sample(image, truth, "a", (40, 50), "a") for image in photos(2, (40, 50))]

    def right(batch):
        with torch.no_grad():
            return [each.numpy() for each in model.eval()(torch.from_numpy(batch))]

    def wrong(batch):
        labels, probabilities = right(batch)
        labels[:, 0, :5] = (labels[:, 0, :5] + 1) % 3
        probabilities[0, 0, 0, 0] = np.nan
        return [labels, probabilities]

    from encoder_ablations.engine.export.runner import Outputs

    good = compare(lambda batch: Outputs(*right(batch)), predictor, samples)
    assert good.share < 0.001
    assert good.largest_difference < 1e-5
    assert good.miou == pytest.approx(good.exported_miou, abs=0.01)
    bad = compare(lambda batch: Outputs(*wrong(batch)), predictor, samples)
    assert bad.differing == good.differing + 10
    assert bad.largest_difference == 1
    assert bad.images == 2
    assert bad.pixels == 2 * 40 * 50


def test_what_cannot_be_traced_is_one_line():
    model, _ = build(Case("darknet_tiny", "linear"))

    class Branching(torch.nn.Module):
        def forward(self, maps):
            return maps * 2 if maps.sum() > 0 else maps

    model.segmenter.head.classifier = torch.nn.Sequential(
        model.segmenter.head.classifier, Branching()
    )
    with pytest.raises(ExportError, match=r"DarkNet.*LinearHead") as refused:
        trace(model)
    assert "\n" not in str(refused.value)
    assert "torch" not in str(refused.value)
    assert "Traceback" in refused.value.details


def test_a_trace_that_holds_on_to_a_size_is_refused():
    model, _ = build(Case("darknet_tiny", "linear"))

    class Sized(torch.nn.Module):
        def forward(self, maps):
            return maps + torch.zeros(int(maps.shape[-2]), 1)

    model.segmenter.head.norm = Sized()
    model.segmenter.head.classifier = torch.nn.Sequential(
        Sized(), torch.nn.Conv2d(128, 3, kernel_size=1)
    )
    with pytest.raises(ExportError, match="any size"):
        trace(model)
