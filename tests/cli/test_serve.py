"""`serve`: mistakes that show before a server starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from cascade_clip.cli.app import main
from cascade_clip.errors import UserError
from cascade_clip.serve.start import open_port, url
from tests.serve.conftest import needs_page


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`cascade-clip serve ARGUMENTS` within this process: exit code and stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cascade-clip", "serve", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return caught.value.code, capsys.readouterr().err

    return call


@needs_page
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", "short"], "at least 8 ASCII characters"),
        (["--model", "nowhere", "--port", "0"], "nowhere"),
        (["--host", "999.1.1.1"], "can't listen at 999.1.1.1"),
        (["--host", "192.0.2.1"], "can't listen at 192.0.2.1"),
        (["--port", "0", "--allowed-host", "http://a.b"], "leave http:// and the port out"),
    ],
)
def test_mistakes_take_one_line(serve: Any, arguments: list[str], message: str) -> None:
    code, stderr = serve(*arguments)
    assert code == 2
    assert stderr.count("\n") == 1 and message in stderr


@needs_page
def test_a_port_that_is_taken(serve: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, stderr = serve("--port", str(port))
    assert code == 2
    assert f"port {port}" in stderr and "--port" in stderr


def test_a_port_is_taken_without_listening() -> None:
    with open_port("127.0.0.1", 0) as bound:
        address = bound.getsockname()[:2]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        bound.listen()
        socket.create_connection(address, timeout=5).close()
        with pytest.raises(UserError, match="already in use"):
            open_port(*address)
    open_port(*address).close()  # at once after a server has ended


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_takes_no_ipv4() -> None:
    try:
        bound = open_port("::", 0)
    except UserError:
        pytest.skip("no IPv6 here")
    with bound:
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert url(bound).startswith("http://")


@pytest.mark.parametrize("option", ["--max-mb", "--max-classes", "--queue", "--timeout"])
def test_limits_are_at_least_one(serve: Any, option: str) -> None:
    code, stderr = serve(option, "0")
    assert code == 2 and option in stderr


@pytest.mark.parametrize(("installed", "message"), [(None, "missing"), ("5.49.1", "found 5.49.1")])
def test_without_the_extra_it_says_what_to_install(
    serve: Any, monkeypatch: pytest.MonkeyPatch, installed: str | None, message: str
) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", version)
    code, stderr = serve()
    assert code == 2
    assert message in stderr and "pip install 'gradio>=6.0' 'prometheus-client>=0.22'" in stderr


@needs_page
@pytest.mark.parametrize("options", [["--token", "abc"], ["--host", "999.1.1.1"]])
def test_token_and_address_are_checked_before_heavy_libraries(options: list[str]) -> None:
    code = (
        "import sys, contextlib; from cascade_clip.cli.app import main\n"
        f"sys.argv = ['cascade-clip', 'serve', *{options!r}]\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'gradio', 'fastapi')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = (
        "import sys, cascade_clip.cli.serve; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'gradio', 'fastapi')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
