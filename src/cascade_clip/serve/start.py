"""What can be found wrong before a server's heavy parts are loaded: token and address."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

from cascade_clip.errors import UserError

SHORTEST_TOKEN = 8
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?", re.ASCII | re.IGNORECASE)


def check_token(token: str) -> None:
    """Raises `UserError` for a token that is too short or doesn't fit into an HTTP header."""
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UserError(
            f"a token has at least {SHORTEST_TOKEN} ASCII characters, e.g. what "
            "`openssl rand -hex 32` prints"
        )
    if " " in token:
        raise UserError("a token holds no spaces")


def open_port(host: str, port: int) -> socket.socket:
    """Takes an address, port 0 for any free one, without listening: until a server does, clients
    are refused instead of waiting for an answer.

    Raises `UserError` if that is not possible.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _bind(family, address)
    except (OSError, OverflowError) as error:
        raise no_port(host, port, error) from error


def _bind(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    """As `socket.create_server` does before it listens."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # where it would let others take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def no_port(host: str, port: int, error: Exception) -> UserError:
    """Says why an address can't be listened at."""
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"can't listen at {host}, port {port}: {reason}; choose others with --host and --port"
    )


def host_name(host: str) -> str | None:
    """`localhost` for `LOCALHOST:7860`; None for what is no host, with or without a port."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else None


def known_hosts(bound: socket.socket, names: Sequence[str]) -> tuple[str, ...]:
    """What may stand in a request's header Host: this machine's own names, the address listened
    at, and `names` as given by a user.

    Raises `UserError` for one that is no name.
    """
    for name in names:
        if host_name(_in_url(name)) != _in_url(name).lower():
            raise UserError(
                f"allowed hosts are names or addresses, e.g. masks.example.org, got '{name}'; "
                "leave http:// and the port out"
            )
    listened = bound.getsockname()[0]
    return (*LOCAL_HOSTS, *(_in_url(name).lower() for name in (listened, *names)))


def url(bound: socket.socket) -> str:
    """How a browser on this machine gets there."""
    host, port = bound.getsockname()[:2]
    if is_any(host):
        host = "127.0.0.1"
    return f"http://{_in_url(host)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_any(host: str) -> bool:
    """Whether an address means all of this machine's."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_local(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
