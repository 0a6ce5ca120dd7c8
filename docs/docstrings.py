"""How docstrings are read for the API pages, which are Markdown."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr):(?=`)")


class PlainReferences(griffe.Extension):
    """Shows Sphinx's references, such as ``:class:`Encoder```, as the name alone."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replace the references in an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub("", obj.docstring.value)
