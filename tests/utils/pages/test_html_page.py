"""Pages share their head; a page has its title, its style and its body."""

import pytest
from jinja2 import UndefinedError

from encoder_ablations.utils.pages.html_page import render_page


@pytest.fixture
def template(tmp_path):
    blocks = (
        "{% block title %}{{ name }}{% endblock %}{% block body %}<p>{{ name }}</p>{% endblock %}"
    )
    (tmp_path / "x.html").write_text('{% extends "base.html" %}' + blocks)
    (tmp_path / "x.css").write_text('p > a::before { content: "é"; }', encoding="utf-8")
    return tmp_path / "x.html"


def test_values_are_escaped_and_the_style_is_not(template):
    page = render_page(template, name="a < b")
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>a &lt; b</title>" in page
    assert 'p > a::before { content: "é"; }' in page
    assert "<p>a &lt; b</p>" in page


def test_every_value_is_changed_before_it_is_written(template):
    assert "<p>AB</p>" in render_page(template, finalize=lambda text: text.upper(), name="ab")


def test_a_missing_value_is_an_error(template):
    with pytest.raises(UndefinedError, match="name"):
        render_page(template)
