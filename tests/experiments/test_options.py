"""What commands share on the terminal."""

from pathlib import Path

from encoder_ablations.experiments import options


def test_a_quick_command_leaves_no_bar(capsys):
    with options.bar("reading masks", "mask") as bar:
        for _ in range(3):
            bar.total = 3
            bar.update()
    assert capsys.readouterr().err == ""


def test_a_built_in_name_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("camvid", "photos"):
        (tmp_path / name).mkdir()
    assert options.as_folder("photos") == Path("photos")
    assert options.as_folder("camvid") is None
    assert options.as_folder("./camvid") == options.as_folder("camvid/") == Path("camvid")
    assert options.as_folder("nowhere") is None
