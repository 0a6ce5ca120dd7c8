"""The package flwr (Flower), which carries messages between server and clients.

Its ``start_server`` and ``start_client`` are used: one plain process on each side, and a client
runs only the code that its owner has installed. Flower calls them deprecated in favour of SuperLink
and SuperNode, which start several processes on each side and run code that the server sends. Only
this folder's ``flower*`` modules know of Flower, and its version is pinned (extra ``flower``).
"""

import logging
import os
from importlib.util import find_spec

from encoder_ablations.utils.optional import missing

LARGEST_MESSAGE = 2**31 - 1
"""Bytes, the most that gRPC allows; Flower's own default is a quarter of it."""


def require_flower() -> None:
    """Check that Flower is installed, and make it silent.

    It would report to its makers that it was used, and log what the commands say themselves.

    Raises:
        MissingPackageError: it is not installed.
    """
    if find_spec("flwr") is None:
        raise missing("flwr", ImportError("No module named 'flwr'"))
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    import flwr.supercore  # noqa: F401 - sets up the logger, which is then changed

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
