"""HTML pages that need no other file, from Jinja templates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def render_page(
    template: Path, finalize: Callable[[Any], Any] | None = None, **content: Any
) -> str:
    """Return a page as HTML.

    Args:
        template: a Jinja template that extends ``base.html``; the file of its name that ends in
            ``.css`` becomes the page's style.
        finalize: changes every value before it is written into the page.
        content: values by their names in the template.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    css = Markup(template.with_suffix(".css").read_text(encoding="utf-8"))
    return environment.get_template(template.name).render(css=css, **content)
