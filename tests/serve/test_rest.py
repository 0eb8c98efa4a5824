"""The REST interface on the embedded model: results, refusals, limits, and that it stays up."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from cascade_clip.io.coco import decode_mask
from cascade_clip.io.palette import to_hex
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service
from cascade_clip.serve.uploads import BodyLimit
from tests.damaged import damaged_avif
from tests.serve.conftest import HERE, SCENE, SCENE_PNG, Gated, png, png_header

NAMES = "cat|kitten, sky, sea, wood"


def ask(client: TestClient, picture: bytes = SCENE_PNG, **fields: Any) -> Any:
    return client.post("/v1/segment", files={"picture": ("a.png", picture)}, data=fields)


def test_masks_are_those_of_the_segmenter(client: TestClient, segmenter: Segmenter) -> None:
    answer = ask(client, classes=NAMES).json()
    expected = segmenter(SCENE, NAMES)
    assert (answer["height"], answer["width"]) == SCENE.shape[:2]
    for index, (got, entry) in enumerate(zip(answer["classes"], expected.legend, strict=True)):
        mask = decode_mask(got["rle"])
        assert np.array_equal(mask, expected.labels == index)
        assert (got["name"], tuple(got["names"])) == (entry.name, entry.names)
        assert (got["area"], got["share"]) == (mask.sum(), pytest.approx(mask.mean()))
        assert got["colour"] == to_hex(entry.colour)
    assert [got["seen"] for got in answer["classes"]] == [False, True, False, True]
    assert answer["background"] == {"share": 0.0, "area": 0}
    assert answer["notes"] == []


def test_a_class_that_is_nowhere_has_an_empty_mask(client: TestClient) -> None:
    answer = ask(client, classes="cat, sky", thresholds='{"cat": 1.0}').json()
    cat = answer["classes"][0]
    assert (cat["area"], cat["bbox"]) == (0, [0, 0, 0, 0])
    assert not decode_mask(cat["rle"]).any()
    assert answer["background"]["area"] > 0


def test_png_holds_class_indices_and_names(client: TestClient, segmenter: Segmenter) -> None:
    answer = ask(client, classes="cat, sky, 나무", format="png", threshold=0.9)
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert json.loads(image.text["classes"]) == ["cat", "sky", "나무"]
        labels = segmenter(SCENE, "cat, sky, 나무", background=0.9).labels
        assert np.array_equal(np.asarray(image), np.where(labels < 0, 255, labels))
        assert (labels < 0).any()


def test_pixels_like_names_of_the_background_have_no_class(
    client: TestClient, segmenter: Segmenter
) -> None:
    answer = ask(client, classes="cat, sea", background_names="sky, wood").json()
    expected = segmenter(SCENE, "cat, sea", background_names=["sky", "wood"])
    assert answer["background"]["area"] == (expected.labels == -1).sum() > 0
    none = ask(client, classes="cat, sea", background_names="none").json()
    assert none["background"]["area"] == 0
    usual = ask(client, classes="cat, sea", background_names="usual").json()
    assert usual["background"]["area"] > 0


def test_background_alone_means_the_usual_threshold(
    client: TestClient, segmenter: Segmenter
) -> None:
    answer = ask(client, classes="cat, sky", background=True).json()
    expected = segmenter(SCENE, "cat, sky", background=True)
    assert answer["background"]["share"] == pytest.approx(expected.background_share)
    assert 0 < expected.background_share < 1


def test_without_names_those_of_the_training_are_taken(
    client: TestClient, segmenter: Segmenter
) -> None:
    answer = ask(client).json()
    assert [c["name"] for c in answer["classes"]] == list(segmenter.trained_classes.names)


def test_the_model_and_its_limits(client: TestClient, segmenter: Segmenter) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"]["trained"] == list(segmenter.trained_classes.seen)
    assert model["classes"]["unseen"] == list(segmenter.trained_classes.unseen)
    assert "drawn scenes only" in model["note"]
    assert model["clip_fingerprint"] == segmenter.clip.fingerprint
    assert model["limits"] == vars(Limits())
    assert client.get("/healthz").json() == {"status": "ok"}


def test_names_may_come_as_a_json_list(client: TestClient) -> None:
    listed = ask(client, classes=json.dumps(["cat|kitten", "sky", "sea", "wood"])).json()
    assert listed == ask(client, classes=NAMES).json()
    behind = [
        ask(client, classes="cat, sea", background_names=names).json()
        for names in ("sky, wood", '["sky", "wood"]')
    ]
    assert behind[0] == behind[1] and behind[0]["background"]["area"] > 0


def test_metrics_count_requests_errors_and_batches(client: TestClient) -> None:
    ask(client, classes="cat, sky")
    ask(client, classes="cat, cat")
    ask(client, b"", classes="cat")
    ask(client, classes="🦄" * 50)  # too many tokens: shows when they are encoded
    metrics = client.get("/metrics").text
    for line in (
        'cascade_clip_requests_total{source="rest"} 4.0',
        'cascade_clip_errors_total{reason="bad_request",source="rest"} 2.0',
        'cascade_clip_errors_total{reason="unreadable_picture",source="rest"} 1.0',
        'cascade_clip_request_seconds_count{source="rest"} 4.0',
        "cascade_clip_batch_pictures_count 1.0",
        "cascade_clip_queue_length 0.0",
    ):
        assert line in metrics


BAD_REQUESTS: dict[str, tuple[bytes, dict[str, Any], int, str, str]] = {
    "zero bytes": (b"", {}, 422, "unreadable_picture", "empty"),
    "cut short": (SCENE_PNG[:500], {}, 422, "unreadable_picture", "damaged or cut short"),
    "AVIF": (damaged_avif(), {}, 422, "unreadable_picture", "damaged or cut short"),
    "text": (b"no picture", {}, 422, "unreadable_picture", "not a picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", {}, 422, "unreadable_picture", "not a picture"),
    "bomb": (png_header(60_000, 60_000), {}, 413, "too_many_pixels", "pixels"),
    "bomb, only its header": (
        png_header(60_000, 60_000)[:33],
        {},
        413,
        "too_many_pixels",
        "60,000 x 60,000 pixels; at most 25,000,000",
    ),
    "too large": (png(Image.new("1", (6000, 5000))), {}, 413, "too_many_pixels", "25,000,000"),
    "no name": (SCENE_PNG, {"classes": " , "}, 422, "bad_request", "no class names"),
    "twice": (SCENE_PNG, {"classes": "cat, Cat "}, 422, "bad_request", "twice"),
    "invisible name": (SCENE_PNG, {"classes": "\u200b"}, 422, "bad_request", "empty class name"),
    "bidirectional name": (SCENE_PNG, {"classes": "a\u202eb"}, 422, "bad_request", "can't be seen"),
    "10,000 classes": (
        SCENE_PNG,
        {"classes": ",".join(f"thing {i}" for i in range(10_000))},
        422,
        "too_many_classes",
        "10,000 class names; at most 256",
    ),
    "10,000 synonyms": (
        SCENE_PNG,
        {"classes": "|".join(f"thing {i}" for i in range(10_000))},
        422,
        "too_many_classes",
        "10,000 class names",
    ),
    "500 characters": (
        SCENE_PNG,
        {"classes": "x" * 500},
        422,
        "name_too_long",
        "500 characters; at most 100",
    ),
    "500 characters twice": (
        SCENE_PNG,
        {"classes": ("x" * 500 + ",") * 2},
        422,
        "bad_request",
        "twice",
    ),
    "10,000 characters": (
        SCENE_PNG,
        {"classes": "x" * 10_000},
        422,
        "bad_request",
        "10,000 characters; at most 1,000",
    ),
    "a megabyte of names": (SCENE_PNG, {"classes": "x" * 2**21}, 400, "bad_request", "1024KB"),
    "too many tokens": (SCENE_PNG, {"classes": "🦄" * 50}, 422, "bad_request", "too long"),
    "odd threshold": (SCENE_PNG, {"threshold": "often"}, 422, "bad_request", "expected a number"),
    "high threshold": (
        SCENE_PNG,
        {"threshold": 7},
        422,
        "bad_request",
        "threshold: expected at most 1.0, got '7'",
    ),
    "a class as background": (
        SCENE_PNG,
        {"classes": "cat, sky", "background_names": "sky"},
        422,
        "bad_request",
        "is a class and a name of the background",
    ),
    "no number": (SCENE_PNG, {"threshold": "nan"}, 422, "bad_request", "threshold: expected"),
    "no JSON": (SCENE_PNG, {"thresholds": "cat=1"}, 422, "bad_request", "JSON"),
    "deep JSON": (SCENE_PNG, {"thresholds": "[" * 90_000}, 422, "bad_request", "JSON"),
    "other threshold": (
        SCENE_PNG,
        {"classes": "cat", "thresholds": '{"dog": 0.5}'},
        422,
        "bad_request",
        "'dog' is none of",
    ),
    "a threshold of another kind": (
        SCENE_PNG,
        {"classes": "cat", "thresholds": '{"cat": true}'},
        422,
        "bad_request",
        "thresholds of 'cat' must lie between 0 and 1, got True",
    ),
    "no picture, but a number before it": (b"", {"threshold": 7}, 422, "bad_request", "at most 1"),
    "semicolons": (SCENE_PNG, {"classes": "cat; sky"}, 422, "bad_request", "by commas"),
    "a list": (SCENE_PNG, {"classes": ["cat", "sky"]}, 422, "bad_request", "join names by commas"),
    "no JSON list": (SCENE_PNG, {"classes": "[cat, sky"}, 422, "bad_request", "no JSON list of"),
    "deep lists": (SCENE_PNG, {"classes": "[" * 90_000}, 422, "bad_request", "no JSON list of"),
    "a list of numbers": (SCENE_PNG, {"classes": "[1]"}, 422, "bad_request", "names are texts"),
    "an empty list": (SCENE_PNG, {"classes": "[]"}, 422, "bad_request", "no class names"),
    "no classes": (SCENE_PNG, {"classes": ""}, 422, "bad_request", "classes is empty"),
    "no threshold": (SCENE_PNG, {"threshold": " "}, 422, "bad_request", "expected a number"),
    "mistyped field": (SCENE_PNG, {"clases": "cat"}, 422, "bad_request", "mean 'classes'?"),
    "odd format": (SCENE_PNG, {"format": "pgn"}, 422, "bad_request", "did you mean 'png'?"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests_are_refused_with_a_reason(client: TestClient, case: str) -> None:
    picture, fields, status, error, reason = BAD_REQUESTS[case]
    answer = ask(client, picture, **fields)
    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (status, error)
    assert reason in problem["reason"]
    assert len(problem["reason"]) <= 500
    assert "\n" not in problem["reason"] and "Traceback" not in problem["reason"]
    assert ask(client, classes="cat, sky").status_code == 200  # still up


def test_other_mistakes_are_problems_too(client: TestClient) -> None:
    nothing = client.post("/v1/segment", data={"classes": "cat"}).json()["reason"]
    assert nothing.startswith("picture is missing; send multipart/form-data")
    path = client.post("/v1/segment", data={"picture": "scene.png"}).json()["reason"]
    assert "-F picture=@photo.jpg" in path and "str" not in path
    assert client.get("/v1/segment").json()["error"] == "method_not_allowed"
    assert client.get("/v1/nothing").json()["error"] == "not_found"
    fields = {"picture": SCENE_PNG}
    answer = client.post("/v1/segment?format=png", files=fields)
    assert (answer.status_code, "-F format=" in answer.json()["reason"]) == (422, True)
    two = [("picture", SCENE_PNG), ("picture", SCENE_PNG)]
    assert "one picture a request" in client.post("/v1/segment", files=two).json()["reason"]
    garbled = client.post(
        "/v1/segment", content=b"x", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert garbled.status_code in (400, 422) and garbled.json()["error"] == "bad_request"


def animated_gif() -> bytes:
    frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1].copy())]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::cascade_clip.segmenter.ShrunkPicture")
@pytest.mark.parametrize(
    ("picture", "size"),
    [
        (png(Image.new("RGB", (1, 1))), (1, 1)),
        (png(Image.new("RGB", (10_000, 1))), (1, 10_000)),
        (png(Image.new("RGB", (1, 10_000))), (10_000, 1)),
        (png(Image.new("I;16", (9, 7))), (7, 9)),
        (animated_gif(), SCENE.shape[:2]),
    ],
    ids=["1x1", "10000 wide", "10000 high", "16 bits", "animated gif"],
)
def test_odd_pictures_come_back_at_their_size(
    client: TestClient, picture: bytes, size: tuple[int, int]
) -> None:
    answer = ask(client, picture, classes="cat, 고양이, 🐱, قطة, cat {}").json()
    assert (answer["height"], answer["width"]) == size
    assert answer["classes"][2]["name"] == "🐱"
    assert sum(c["area"] for c in answer["classes"]) == size[0] * size[1]
    assert bool(answer["notes"]) == (max(size) == 10_000)


def test_large_bodies_are_refused_before_they_are_read(make_client: Any) -> None:
    client = make_client(megabytes=1)
    large = ask(client, b"\0" * 1_100_000)
    assert (large.status_code, large.json()["error"]) == (413, "too_many_bytes")

    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(1100):
            yield b"\0" * 1000
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    unannounced = client.post("/v1/segment", content=pieces(), headers=headers)
    assert (unannounced.status_code, unannounced.json()["error"]) == (413, "too_many_bytes")
    assert ask(client).status_code == 200
    assert '{reason="too_many_bytes",source="rest"} 2.0' in client.get("/metrics").text


def test_a_full_queue_and_a_slow_network_answer_503(segmenter: Segmenter, make_client: Any) -> None:
    gated = Gated(segmenter, segmenter(SCENE, "cat, sky"))
    client = make_client(gated, queue=2, seconds=1)
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(ask, client, classes="cat, sky") for _ in range(2)]
        metrics = ""
        while 'requests_total{source="rest"} 2.0' not in metrics:
            metrics = client.get("/metrics").text  # answered while the network is busy
        full = ask(client, classes="cat, sky")
        assert (full.status_code, full.json()["error"]) == (503, "queue_full")
        assert int(full.headers["retry-after"]) > 0
        for answer in (future.result(30) for future in slow):
            assert (answer.status_code, answer.json()["error"]) == (503, "timed_out")
            assert int(answer.headers["retry-after"]) > 0
        gated.gate.set()
        again = (ask(client, classes="cat, sky").status_code for _ in range(30))
        assert any(status == 200 for status in again)  # a busy machine may take several


def test_an_error_within_tells_the_client_nothing(
    segmenter: Segmenter, make_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Gated):
        def segment_decoded(self, images: Any, query: Any) -> Any:
            raise RuntimeError("secret")

    caplog.set_level(logging.CRITICAL)
    client = make_client(Broken(segmenter))
    answer = ask(client, classes="cat")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert '{reason="internal_error",source="rest"} 1.0' in client.get("/metrics").text
    assert client.get("/healthz").status_code == 200


def test_an_upload_that_never_ends_is_given_up() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("the body never ended")

    sent: list[dict[str, Any]] = []
    counted: list[tuple[str, str]] = []

    async def receive() -> dict[str, Any]:
        if sent or counted:
            await asyncio.sleep(60)
        counted.append(("piece", ""))
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    limit = BodyLimit(app, Limits(seconds=1), lambda *error: counted.append(error), nullcontext)
    scope = {"type": "http", "method": "POST", "path": "/v1/segment", "headers": []}
    asyncio.run(limit(scope, receive, send))
    assert sent[0]["status"] == 408
    assert counted[-1] == ("rest", "upload_too_slow")


@pytest.fixture
def make_client(segmenter: Segmenter) -> Iterator[Any]:
    """`make_client(segmenter, LIMIT=...)`."""
    made: list[TestClient] = []

    def make(segmenter: Any = segmenter, **limits: Any) -> TestClient:
        app = create_app(Service(segmenter, Limits(**limits)))
        made.append(TestClient(app, base_url=HERE, raise_server_exceptions=False).__enter__())
        return made[-1]

    yield make
    for client in made:
        client.__exit__(None, None, None)
