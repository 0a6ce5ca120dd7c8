"""How encoders, segmenters and datasets are referred to."""

import pytest

from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.utils.errors import InputError


def test_a_yaml_may_be_a_delta(tmp_path, monkeypatch):
    """Over a built-in name, or over another YAML beside it, wherever the command is given."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "frozen.yaml").write_text("base: vit_ti16\nfreeze: body\nchannels: 64")
    (tmp_path / "sub" / "wide.yaml").write_text("base: ../frozen.yaml\nchannels: 128")
    frozen = load_encoder(str(tmp_path / "frozen.yaml"))
    assert (frozen.name, frozen.freeze, frozen.channels) == ("vit_ti16", "body", 64)
    wide = load_encoder(str(tmp_path / "sub" / "wide.yaml"))
    assert (wide.name, wide.freeze, wide.channels) == ("vit_ti16", "body", 128)
    monkeypatch.chdir(tmp_path / "sub")
    assert load_encoder({"base": "wide.yaml", "weights": "random"}).channels == 128


def test_an_error_names_all_files(tmp_path):
    (tmp_path / "a.yaml").write_text("base: vit_ti16\nchanels: 64")
    with pytest.raises(InputError, match=r"a\.yaml based on .*vit_ti16.*Did you mean 'channels'"):
        load_encoder(str(tmp_path / "a.yaml"))


def test_no_circles(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(InputError, match="is based on itself"):
        load_encoder(str(tmp_path / "a.yaml"))
