"""Where server and clients meet, and how their connection is protected."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.utils.errors import InputError

ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:\[\]/]+):(\d+)")
"""``HOST:PORT``; an address of IPv6 stands in brackets."""
LARGEST_PORT = 65535


@dataclass(frozen=True)
class ServerConnection:
    """Where a server listens.

    Attributes:
        address: ``HOST:PORT``.
        certificates: of the authority, of the server, and its private key, as PEM; None = what is
            sent can be read and changed on its way.
        seconds: how long a client may take for a round; None = as long as it takes.
    """

    address: str
    certificates: tuple[bytes, bytes, bytes] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ClientConnection:
    """How a client reaches its server.

    Attributes:
        address: ``HOST:PORT``.
        root: certificate of the authority, as PEM; None = those that the system knows.
        insecure: whether the connection is not protected.
        seconds: how long it waits for the server to listen.
    """

    address: str
    root: bytes | None = None
    insecure: bool = False
    seconds: float = 60.0


def host_and_port(address: str, option: str) -> tuple[str, int]:
    """Return the two parts of ``HOST:PORT``.

    Args:
        address: what was given.
        option: the option that it was given for.

    Raises:
        InputError: it is something else.
    """
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[2]) <= LARGEST_PORT:
        raise InputError(
            f"{option} {address}: write HOST:PORT, such as 127.0.0.1:8080, with a port of "
            f"1..{LARGEST_PORT}."
        )
    return match[1].strip("[]"), int(match[2])


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_server` reads."""
    parser.add_argument(
        "--address",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="where to listen (default 127.0.0.1:8080, which only this machine reaches)",
    )
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="of this server, for TLS")
    parser.add_argument("--key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument(
        "--ca-certificate", type=Path, metavar="PEM", help="of the authority that has signed it"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="without TLS: for one machine, or a tunnel"
    )
    parser.add_argument(
        "--round-timeout",
        type=float,
        metavar="SECONDS",
        help="a round goes on without clients that take longer (default: wait for all)",
    )


def read_server(arguments: argparse.Namespace) -> ServerConnection:
    """Return what the options say.

    Raises:
        InputError: they contradict each other, do not suffice, or a file cannot be read.
    """
    host_and_port(arguments.address, "--address")
    seconds = arguments.round_timeout
    if seconds is not None and not seconds > 0:
        raise InputError(f"--round-timeout {seconds:g}: allowed are seconds above 0.")
    files = {
        "--ca-certificate": arguments.ca_certificate,
        "--certificate": arguments.certificate,
        "--key": arguments.key,
    }
    given = [option for option, path in files.items() if path is not None]
    if arguments.insecure:
        _refuse_both(given)
        return ServerConnection(arguments.address, None, seconds)
    missing = [option for option in files if option not in given]
    if missing:
        raise InputError(
            "TLS needs --certificate, --key and --ca-certificate; missing: "
            f"{', '.join(missing)}. Say --insecure to do without TLS."
        )
    authority, certificate, key = [_read(option, path) for option, path in files.items()]
    return ServerConnection(arguments.address, (authority, certificate, key), seconds)


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_client` reads."""
    parser.add_argument(
        "--server", required=True, metavar="HOST:PORT", help="where the server listens"
    )
    parser.add_argument(
        "--ca-certificate",
        type=Path,
        metavar="PEM",
        help="of the authority that has signed the server's certificate (default: those that the "
        "system knows)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="without TLS: for one machine, or a tunnel"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the server to listen (default 60)",
    )


def read_client(arguments: argparse.Namespace) -> ClientConnection:
    """Return what the options say.

    Raises:
        InputError: they contradict each other, or a file cannot be read.
    """
    host_and_port(arguments.server, "--server")
    if not arguments.wait >= 0:
        raise InputError(f"--wait {arguments.wait:g}: allowed are seconds from 0.")
    root = None
    if arguments.ca_certificate is not None:
        root = _read("--ca-certificate", arguments.ca_certificate)
        if arguments.insecure:
            _refuse_both(["--ca-certificate"])
    return ClientConnection(arguments.server, root, arguments.insecure, arguments.wait)


def _refuse_both(given: list[str]) -> None:
    if given:
        raise InputError(f"--insecure and {given[0]} exclude each other. Leave out one of them.")


def _read(option: str, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{option}: cannot read {path}: {error.strerror}.") from error
    if b"-----BEGIN" not in content:
        raise InputError(f"{option}: {path} is not a PEM file.")
    return content
