"""What docs/serving.md tells people to type works, and so does examples/rest_client.py."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from PIL import Image

from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.access import Access
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
TOKEN = "a-token-for-the-docs"
ADDRESS = "http://127.0.0.1:7860"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


CURLS = [
    line
    for block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("curl")
]


@contextmanager
def served(segmenter: Segmenter, access: Access | None) -> Iterator[str]:
    """A server without its page, at a free port."""
    app = create_app(Service(segmenter, Limits()), access)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def url(segmenter: Segmenter) -> Iterator[str]:
    with served(segmenter, None) as url:
        yield url


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run_curl(command: str, url: str, out: Path) -> httpx.Response:
    """What curl would do, for the options that the page uses."""
    command = command.replace("$CASCADE_CLIP_TOKEN", TOKEN).replace(ADDRESS, url)
    words = iter(shlex.split(command)[1:])
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    headers: dict[str, str] = {}
    address = written = None
    for word in words:
        if word == "-F":
            name, value = next(words).split("=", 1)
            if value.startswith("@"):
                files[name] = Path(value[1:]).read_bytes()
            else:
                fields[name] = value
        elif word == "-H":
            name, value = next(words).split(": ", 1)
            headers[name] = value
        elif word == "-o":
            written = out / next(words)
        else:
            assert address is None and word.startswith(url)
            address = word
    assert address is not None
    method = "POST" if fields or files else "GET"
    answer = httpx.request(
        method, address, data=fields, files=files or None, headers=headers, timeout=60
    )
    if written is not None:
        written.write_bytes(answer.content)
    return answer


@pytest.mark.parametrize("command", CURLS)
def test_commands(command: str, url: str, in_root: None, tmp_path: Path) -> None:
    answer = run_curl(command, url, tmp_path)
    if "README" in command:
        assert answer.status_code == 422
        assert answer.json() in [json.loads(b) for b in blocks("json") if b.startswith('{"e')]
    else:
        assert answer.status_code == 200
    if "-o" in command:
        with Image.open(tmp_path / "mask.png") as image:
            assert image.size == (384, 384) and image.text["classes"] == '["cat", "house"]'


def test_commands_with_the_token(segmenter: Segmenter, in_root: None, tmp_path: Path) -> None:
    with served(segmenter, Access(TOKEN)) as guarded:
        statuses = {
            "Bearer" in command: run_curl(command, guarded, tmp_path).status_code
            for command in CURLS
        }
    assert statuses == {False: 401, True: 200}


def test_python(url: str, in_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python")
    exec(compile(program.replace(ADDRESS, url), "docs/serving.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(384, 384) 0.")


def test_the_client_of_the_examples(
    segmenter: Segmenter, in_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = tmp_path / "mask.png"
    arguments = ["examples/scene.png", "cat, house", "--out", str(mask), "--server"]
    with served(segmenter, Access(TOKEN)) as guarded:
        monkeypatch.setattr(sys, "argv", ["rest_client.py", *arguments, guarded])
        with pytest.raises(SystemExit, match="401"):
            runpy.run_path("examples/rest_client.py", run_name="__main__")
        monkeypatch.setenv("CASCADE_CLIP_TOKEN", TOKEN)
        runpy.run_path("examples/rest_client.py", run_name="__main__")
    with Image.open(mask) as image:
        assert image.size == (384, 384)


def test_the_answer_shown_has_the_fields_of_an_answer(
    url: str, in_root: None, tmp_path: Path
) -> None:
    answer = run_curl(CURLS[0], url, tmp_path).json()
    shown = json.loads(next(block for block in blocks("json") if block.startswith('{"width"')))
    assert shown.keys() == answer.keys()
    first, real = shown["classes"][0], answer["classes"][0]
    assert first.keys() == real.keys()
    for name in ("name", "names", "seen", "colour"):
        assert first[name] == real[name]
    # A pixel at an edge may fall to the other side on another processor.
    assert first["share"] == pytest.approx(real["share"], abs=0.015)
    assert first["area"] == pytest.approx(real["area"], rel=0.01)
    assert first["bbox"] == pytest.approx(real["bbox"], abs=4)


def test_limits_in_the_table_are_the_defaults() -> None:
    limits = Limits()
    rows = dict(re.findall(r"^\| `(--[\w-]+)` \| ([\d]+)", PAGE, re.MULTILINE))
    assert {name: float(value) for name, value in rows.items()} == {
        "--max-mb": limits.megabytes,
        "--max-megapixels": limits.megapixels,
        "--max-classes": limits.classes,
        "--max-name-length": limits.name_length,
        "--queue": limits.queue,
        "--timeout": limits.seconds,
    }
