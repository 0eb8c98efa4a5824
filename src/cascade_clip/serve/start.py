"""What can be found wrong before a server's heavy parts are loaded: token and address."""

from __future__ import annotations

import ipaddress
import socket

from cascade_clip.errors import UserError

SHORTEST_TOKEN = 8


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
    """Listens at an address; port 0 stands for any free one.

    Raises `UserError` if that is not possible.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"can't listen at {host}, port {port}: {reason}; choose others with --host and --port"
        ) from error


def url(listening: socket.socket) -> str:
    """How a browser on this machine gets there."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
