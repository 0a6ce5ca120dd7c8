"""Files within a page."""

import base64


def data_uri(content: bytes, kind: str) -> str:
    """Return ``content`` of the MIME type ``kind`` as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
