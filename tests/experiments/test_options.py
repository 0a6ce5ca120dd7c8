"""What commands share on the terminal."""

from encoder_ablations.experiments import options


def test_a_quick_command_leaves_no_bar(capsys):
    with options.bar("reading masks", "mask") as bar:
        for _ in range(3):
            bar.total = 3
            bar.update()
    assert capsys.readouterr().err == ""
