"""Weights fill a model completely or not at all, and a download that fails says how to go on."""

import http.server
import threading
import time
from dataclasses import dataclass, field

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from encoder_ablations.encoders.weights.hub import download_weights
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0, "global_pool": ""}
CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
DINOV2 = "vit_base_patch14_dinov2.lvd142m"


def _model(name=CLIP, label=0, **options):
    with torch_stream(0, "test", label):
        model = timm.create_model(
            name, **{**TINY, "img_size": 56 if "patch14" in name else 64, **options}
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
    return model


def _state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def _save(state, tmp_path):
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        tmp_path / "weights.safetensors",
    )
    return tmp_path / "weights.safetensors"


def _equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_loads_everything(tmp_path):
    source, model = _state(_model()), _model(label=1)
    path = _save(
        {**source, "head.weight": torch.zeros(5, 32), "head.bias": torch.zeros(5)}, tmp_path
    )
    report = load_weights(model, path)
    assert _equal(model.state_dict(), source)
    assert report.path == str(path)
    assert report.layout == "timm"
    assert report.tensors == len(source)
    assert set(report.dropped) == {"head.weight", "head.bias"}
    assert report.resampled == ()


def test_a_model_that_is_no_vision_transformer_is_loaded_by_its_own_names(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    source = {name: torch.full_like(value, 3) for name, value in model.state_dict().items()}
    report = load_weights(model, _save({**source, "head.fc.weight": torch.zeros(2)}, tmp_path))
    assert _equal(model.state_dict(), source)
    assert report.dropped == ("head.fc.weight",)
    with pytest.raises(InputError, match=r"it lacks 0\.weight.*the model has no stem\.weight"):
        load_weights(model, _save({"stem.weight": source.pop("0.weight"), **source}, tmp_path))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_the_tensors_name(number, tmp_path):
    vit, net = _model(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    for model, name in ((vit, "blocks.1.norm1.weight"), (net, "1.running_var")):
        before = _state(model)
        broken = _state(model)
        broken[name][0] = number
        with pytest.raises(InputError, match=rf"weights\.safetensors.*{name}.*not finite"):
            load_weights(model, _save(broken, tmp_path))
        assert _equal(model.state_dict(), before)


def test_half_precision_is_resampled_in_full_precision(tmp_path):
    half = {name: value.half() for name, value in _state(_model(img_size=64)).items()}
    full = {name: value.float() for name, value in half.items()}
    models = [_model(img_size=96), _model(img_size=96)]
    for model, state in zip(models, (half, full), strict=True):
        load_weights(model, _save(state, tmp_path))
    assert _equal(models[0].state_dict(), models[1].state_dict())
    assert models[0].pos_embed.dtype == torch.float32


@pytest.mark.parametrize("name", [CLIP, "vit_base_patch16_dinov3_qkvb.lvd1689m"])
def test_one_missing_or_surplus_tensor_is_an_error_and_changes_nothing(name, tmp_path):
    source, model = _state(_model(name)), _model(name, label=1)
    before = _state(model)
    for key in source:
        if key == "patch_embed.proj.weight":  # by this one the layout is recognised
            continue
        with pytest.raises(InputError, match=f"it lacks {key}"):
            load_weights(
                model,
                _save({other: value for other, value in source.items() if other != key}, tmp_path),
            )
    with pytest.raises(InputError, match=r"the model has no blocks\.0\.attn\.scale"):
        load_weights(model, _save({**source, "blocks.0.attn.scale": torch.ones(1)}, tmp_path))
    assert _equal(model.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            CLIP,
            {"depth": 3},
            r"no blocks\.2\.attn\.proj\.bias, .* and 9 more.*another size of the same family",
        ),
        (CLIP, {"depth": 1}, r"it lacks blocks\.1\.norm1\.weight.*another size of the same family"),
        (
            CLIP,
            {"embed_dim": 48},
            r"shapes differ: blocks\.0\.attn\.proj\.bias 48 instead of 32, .*another size",
        ),
        (
            "vit_base_patch32_clip_quickgelu_224.openai",
            {},
            r"its patches are 32×32, the model's are 16×16",
        ),
        (
            "vit_base_patch16_siglip_224.webli",
            {"img_size": 80},
            r"25 position embeddings.*1 plus a square grid",
        ),
        (
            "vit_base_patch16_siglip_224.webli",
            {"img_size": 64},
            r"16 position embeddings.*1 plus a square grid",
        ),
        (
            "vit_base_patch16_224.mae",
            {},
            r"it lacks norm_pre\.weight, norm_pre\.bias.*another model family",
        ),
        (DINOV2, {}, "its patches are 14×14, the model's are 16×16"),
        ("vit_base_patch16_dinov3_qkvb.lvd1689m", {}, r"blocks\.0\.attn\.q_bias is not zero"),
    ],
)
def test_a_file_of_another_model_is_refused(name, options, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        load_weights(_model(), _save(_state(_model(name, **options)), tmp_path))
    assert (
        "weights.safetensors does not fit the encoder vit_base_patch16_clip_quickgelu_224"
        in str(error.value)
    )
    assert "\n" not in str(error.value)


def test_linear_patch_embeddings_are_refused(tmp_path):
    """NaFlex orders pixels otherwise; timm's filter would reshape the matrix as if it were a
    convolution."""
    source = _state(_model())
    source["patch_embed.proj.weight"] = source["patch_embed.proj.weight"].flatten(1)
    with pytest.raises(InputError, match="is no convolution"):
        load_weights(_model(), _save(source, tmp_path))


@pytest.mark.parametrize(
    ("name", "made_for", "model_options"),
    [
        (CLIP, 64, {"img_size": 96}),
        (DINOV2, 518, {"img_size": 128, "patch_size": 16}),
        (DINOV2, 518, {"img_size": 37 * 16, "patch_size": 16}),
        ("vit_base_patch14_reg4_dinov2.lvd142m", 518, {"img_size": 128, "patch_size": 16}),
    ],
)
def test_resampling_equals_that_of_timms_own_downloads(name, made_for, model_options, tmp_path):
    path = _save(_state(_model(name, img_size=made_for)), tmp_path)
    model = _model(name, **model_options)
    report = load_weights(model, path)
    reference = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        **{**TINY, **model_options},
    )
    assert _equal(model.state_dict(), reference.state_dict())
    resampled = {item for item, _, _ in report.resampled}
    same_grid = model_options["img_size"] == 37 * 16
    expected = set() if same_grid else {"pos_embed"}
    assert resampled == expected | (
        {"patch_embed.proj.weight"} if "patch_size" in model_options else set()
    )


def test_dinov3_without_biases_takes_a_file_whose_biases_are_zero(tmp_path):
    source = _state(_model("vit_base_patch16_dinov3_qkvb.lvd1689m"))
    biases = {name for name in source if name.endswith(("q_bias", "v_bias"))}
    source |= {name: torch.zeros(32) for name in biases}
    model = _model("vit_base_patch16_dinov3.lvd1689m")
    report = load_weights(model, _save(source, tmp_path))
    assert biases
    assert set(report.dropped) == biases
    assert _equal(
        model.state_dict(), {name: value for name, value in source.items() if name not in biases}
    )


MODEL = "vit_base_patch16_224.mae"


@dataclass
class Hub:
    """A stand-in for the Hugging Face hub: file name -> (status, error code, content)."""

    answers: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hub.requests.append(f"{self.command} {self.path}")
            status, code, content = hub.answers.get(
                self.path.rpartition("/")[2], (404, "EntryNotFound", b"")
            )
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"tag"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    _use_endpoint(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield hub
    server.shutdown()
    server.server_close()


def _use_endpoint(monkeypatch, tmp_path, url):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_downloads_once(hub, file):
    hub.answers[file] = (200, None, b"content")
    path = download_weights(MODEL)
    assert path.read_bytes() == b"content"
    assert path.name == file
    assert f"GET /timm/{MODEL}/resolve/main/{file}" in hub.requests
    hub.requests.clear()
    assert download_weights(MODEL) == path
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "GatedRepo", "its licence must be accepted"),
        (404, "RepoNotFound", "no such repository"),
        (503, None, "503"),
    ],
)
def test_a_refused_download_says_why_and_how_to_go_on(hub, status, code, reason):
    hub.answers["model.safetensors"] = (status, code, b"")

    with pytest.raises(InputError, match=reason) as error:
        download_weights(MODEL)
    assert f"timm/{MODEL}" in str(error.value)
    assert "weights: FILE.safetensors" in str(error.value)
    assert "weights: random" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_repository_without_weights_is_an_error(hub):
    with pytest.raises(InputError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        download_weights(MODEL)


def test_no_connection_is_noticed_at_once(monkeypatch, tmp_path):
    """The hub's client alone would repeat its requests for about 25 seconds a file."""
    _use_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(InputError, match=r"no connection \(.*weights: random"):
        download_weights(MODEL)
    assert time.monotonic() - start < 5


def test_the_hubs_offline_mode_is_named(monkeypatch, tmp_path):
    _use_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        download_weights(MODEL)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_huge_patch14_gap_224.in22k_ijepa", "has no weights on the Hugging Face hub"),
        ("vit_base_patch16_224.maee", r"Allowed: .*vit_base_patch16_224\.mae"),
    ],
)
def test_models_without_downloadable_weights(name, message):
    with pytest.raises(InputError, match=message):
        download_weights(name)
