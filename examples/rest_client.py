"""A client of `cascade-clip serve` that needs httpx and Pillow alone.

    cascade-clip serve &
    python examples/rest_client.py examples/scene.png "cat, house, grass, sky"

prints what the picture shows and writes the mask: a palette PNG of class indices, 255 for none. A
token is read from CASCADE_CLIP_TOKEN, as by the server.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import httpx
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("picture", type=Path)
parser.add_argument("classes")
parser.add_argument("--server", default="http://127.0.0.1:7860")
parser.add_argument("--out", type=Path, default=Path("mask.png"))
arguments = parser.parse_args()

token = os.environ.get("CASCADE_CLIP_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
with httpx.Client(base_url=arguments.server, headers=headers, timeout=90) as client:

    def segment(**fields: str) -> httpx.Response:
        answer = client.post(
            "/v1/segment",
            files={"picture": arguments.picture.read_bytes()},
            data={"classes": arguments.classes, **fields},
        )
        if answer.is_error:
            raise SystemExit(f"{answer.status_code}: {answer.json()['reason']}")
        return answer

    for entry in segment().json()["classes"]:
        print(f"{entry['name']}: {entry['share']:.0%} of the picture")
    mask = Image.open(io.BytesIO(segment(format="png").content))
    mask.save(arguments.out)
    print(f"{arguments.out}: {mask.width} x {mask.height}, classes {mask.info['classes']}")
