"""How `cascade-clip serve` answers several clients: `python -m benchmarks.serving`.

One server with the embedded model; clients send a scene of 384 x 384 pixels and its eight names,
each as soon as its last answer has come. Rounds go through all cases in turns. *alike*: all clients
send the same names and size, so that their pictures go through the network together; *apart*: each
client has a size of its own, so that none do. Clients run in the process that measures, beside the
server, on the same machine. Writes the JSON and the tables of docs/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import torch
from benchmarks.pages import fill
from benchmarks.performance.hardware import environment
from PIL import Image

from cascade_clip.io.files import write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/serving.md"
SCENE = ROOT / "examples/scene.png"
NAMES = ("cat", "house", "grass", "sky", "tree", "boat", "water", "sand")
CLIENTS = (1, 8, 64)
SERVER = ["-m", "cascade_clip", "serve", "--port", "0", "--queue", str(max(CLIENTS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each case in a round")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/serving.json")
    options = parser.parse_args()
    with server() as address:
        result = asyncio.run(measure(address, options.rounds, options.seconds))
    result["environment"] = environment(torch.device("cpu"))
    result |= {"rounds": options.rounds, "seconds": options.seconds}
    write_text(options.out, json.dumps(result, indent=1) + "\n")
    print(tables(result))
    if options.out.parent == ROOT / "benchmarks/results":
        fill(PAGE, "serving", tables(result))


@contextmanager
def server() -> Iterator[str]:
    """The address of one with a single thread of computation."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *SERVER]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"http://\S+", line):
                    yield found[0].rstrip("/")
                    break
            else:
                raise RuntimeError("the server ended before it served")
        finally:
            process.terminate()


async def measure(address: str, rounds: int, seconds: float) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=max(CLIENTS))
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as client:
        await ask(client, scene(384), NAMES)  # the first request prepares much
        rows: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds):
            for count in CLIENTS:
                for kind in ("alike", "apart") if count > 1 else ("alike",):
                    row = await crowd(client, count, kind == "apart", seconds)
                    rows.setdefault(f"{count} {kind}", []).append(row)
                    print(number, count, kind, row, flush=True)
        return {"clients": rows, "names": await names_cost(client, 10 * rounds)}


async def crowd(
    client: httpx.AsyncClient, count: int, apart: bool, seconds: float
) -> dict[str, float]:
    """What `count` clients see within `seconds`."""
    pictures = [scene(384 + index if apart else 384) for index in range(count)]
    before = await batches(client)
    begin = time.perf_counter()
    end = begin + seconds

    async def one(picture: bytes) -> list[float]:
        times = []
        while time.perf_counter() < end:
            times.append(await ask(client, picture, NAMES))
        return times

    times = list(chain.from_iterable(await asyncio.gather(*map(one, pictures))))
    took = time.perf_counter() - begin
    pictures_in, batches_run = (
        after - start for after, start in zip(await batches(client), before, strict=True)
    )
    return {
        "requests": len(times),
        "a_second": len(times) / took,
        "p50_ms": 1000 * statistics.median(times),
        "p95_ms": 1000 * statistics.quantiles(times, n=20, method="inclusive")[-1],
        "a_batch": pictures_in / batches_run,
    }


async def names_cost(client: httpx.AsyncClient, requests: int) -> dict[str, float]:
    """Median milliseconds of a request with names that the server knows, and with new ones."""
    picture = scene(384)
    known, new = [], []
    for number in range(requests):
        known.append(await ask(client, picture, NAMES))
        new.append(await ask(client, picture, [f"{name} {number}" for name in NAMES]))
    return {
        "known_ms": 1000 * statistics.median(known),
        "new_ms": 1000 * statistics.median(new),
        "ratio": statistics.median(b / a for a, b in zip(known, new, strict=True)),
    }


async def ask(client: httpx.AsyncClient, picture: bytes, names: Sequence[str]) -> float:
    """Seconds until the answer is there."""
    begin = time.perf_counter()
    answer = await client.post(
        "/v1/segment", files={"picture": picture}, data={"classes": ", ".join(names)}
    )
    answer.raise_for_status()
    return time.perf_counter() - begin


async def batches(client: httpx.AsyncClient) -> tuple[float, float]:
    """Pictures that went through the network so far, and in how many batches."""
    text = (await client.get("/metrics")).text
    found = dict(re.findall(r"^cascade_clip_batch_pictures_(sum|count) (\S+)$", text, re.MULTILINE))
    return float(found["sum"]), float(found["count"])


def scene(side: int) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    Image.open(SCENE).convert("RGB").resize((side, side)).save(buffer, "png")
    return buffer.getvalue()


def tables(result: dict[str, Any]) -> str:
    alone = [row["a_second"] for row in result["clients"]["1 alike"]]
    lines = [
        "| clients | names and sizes | answers a second (times one client's) | p50, ms | p95, ms "
        "| pictures a batch |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for case, rows in result["clients"].items():
        count, kind = case.split()
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        gain = statistics.median(
            row["a_second"] / single for row, single in zip(rows, alone, strict=True)
        )
        lines.append(
            f"| {count} | {kind if count != '1' else ''} | {middle['a_second']:.1f} ({gain:.2f}) "
            f"| {middle['p50_ms']:.0f} | {middle['p95_ms']:.0f} | {middle['a_batch']:.1f} |"
        )
    names, machine = result["names"], result["environment"]
    lines += [
        "",
        f"A request with {len(NAMES)} new names takes {names['new_ms']:.0f} ms, with names that "
        f"the server knows {names['known_ms']:.0f} ms ({names['ratio']:.2f} times).",
        "",
        f"{machine['processor']} with {', '.join(machine['instructions'])}, one "
        f"thread of computation; medians of {result['rounds']} rounds of {result['seconds']:g} "
        "seconds a case.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
