"""Which font writes a text."""

import io

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from encoder_ablations.utils.pages import fonts


@pytest.fixture
def machine_fonts(tmp_path, monkeypatch):
    """Makes the machine's fonts: name of a file -> its letters."""

    def make(**letters):
        for name, text in letters.items():
            _write_font(tmp_path / f"{name}.ttf", text)
        (tmp_path / "broken.ttf").write_bytes(b"no font")
        monkeypatch.setattr(
            font_manager, "findSystemFonts", lambda: sorted(map(str, tmp_path.glob("*.ttf")))
        )
        _forget()

    yield make
    _forget()


def _forget():
    for kept in (fonts._path_for, fonts._others, fonts._letters, fonts._font):
        kept.cache_clear()


def _write_font(path, text):
    """A font whose letters are boxes."""
    names = [".notdef", *(f"uni{ord(letter):04X}" for letter in text)]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (500, 700), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(
        {ord(letter): name for letter, name in zip(text, names[1:], strict=True)}
    )
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800)
    builder.setupPost()
    builder.save(path)


def test_the_usual_font_where_it_has_the_letters(machine_fonts):
    machine_fonts(everything="abc дж")
    assert fonts.font_for("abc дж λ", 13).getname()[0] == "DejaVu Sans"


def test_another_font_where_only_that_has_all_of_them(machine_fonts):
    machine_fonts(half="岩", whole="岩石", whole_bold="岩石")
    assert fonts.font_for("岩石", 13).getname()[0] == "whole"
    assert fonts.font_for("岩", 13).getname()[0] == "half"
    assert fonts.font_for("岩石 1", 13) is None, "letters of one text come from one font"


def test_letters_that_nothing_has_are_question_marks(machine_fonts):
    machine_fonts()
    text, font = fonts.legible("val  岩_1  64×64", 12)
    assert text == "val  ?_1  64×64"
    assert font.getname()[0] == "DejaVu Sans"


def test_figures_have_a_font_for_every_name(machine_fonts, recwarn):
    machine_fonts(rocks="岩石", craters="坑")
    families = fonts.further_families(["soil", "岩石", "坑", "岩坑", "☂岩"])
    assert families == ["craters", "rocks"]
    with matplotlib.rc_context({"font.family": ["sans-serif", *families]}):
        figure = Figure()
        figure.text(0, 0, "soil 岩石 坑 岩坑")
        figure.savefig(io.BytesIO(), format="png")
    assert not [each for each in recwarn if "missing from" in str(each.message)]
