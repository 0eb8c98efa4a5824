"""Jobs of one kind go together, in order, and none disturbs another."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from cascade_clip.export.network import ExportedOutput
from cascade_clip.picturebook import draw_scene
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve import service as service_module
from cascade_clip.serve.batching import Batcher
from cascade_clip.serve.service import ALL_STAGES, Service
from tests.serve.conftest import SCENE, MakeService


class Recorder:
    """Doubles numbers; holds its first batch back until `release` is called."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.started, self._released = threading.Event(), threading.Event()

    def __call__(self, key: str, items: list[int]) -> list[int]:
        self.batches.append((key, items))
        self.started.set()
        assert self._released.wait(10)
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def batcher(recorder: Recorder) -> Batcher[str, int, int]:
    """Its thread is busy with a first job of key "first" until the recorder releases it."""
    batcher: Batcher[str, int, int] = Batcher(recorder, most=lambda key: 3, wait=0.0)
    batcher.submit("first", 0)
    assert recorder.started.wait(10)
    return batcher


def test_jobs_of_one_key_go_together_and_the_oldest_first(
    batcher: Batcher[str, int, int], recorder: Recorder
) -> None:
    jobs = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 6)]
    futures = [batcher.submit(key, item) for key, item in jobs]
    assert batcher.waiting() == 6
    recorder.release()
    assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert recorder.batches[1:] == [("a", [1, 3, 4]), ("b", [2, 6]), ("a", [5])]
    assert batcher.waiting() == 0


def test_an_error_reaches_those_who_wait_and_the_thread_goes_on(
    batcher: Batcher[str, int, int], recorder: Recorder
) -> None:
    bad = [batcher.submit("bad", item) for item in (1, -1)]
    good = batcher.submit("good", 4)
    recorder.release()
    for future in bad:
        with pytest.raises(ValueError, match="minus one"):
            future.result(10)
    assert good.result(10) == 8


def test_cancelled_jobs_are_left_out(batcher: Batcher[str, int, int], recorder: Recorder) -> None:
    gone, kept = batcher.submit("a", 1), batcher.submit("a", 2)
    alone = batcher.submit("b", 3)
    assert gone.cancel() and alone.cancel()
    recorder.release()
    assert kept.result(10) == 4
    assert batcher.submit("c", 5).result(10) == 10
    assert recorder.batches[1:] == [("a", [2]), ("c", [5])]


def test_closing_cancels_what_waits(batcher: Batcher[str, int, int], recorder: Recorder) -> None:
    waiting = batcher.submit("a", 1)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(10)
    recorder.release()
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", 1)


def test_a_job_waits_a_moment_for_others() -> None:
    batches: list[list[int]] = []

    def run(key: str, items: list[int]) -> list[int]:
        batches.append(items)
        return items

    batcher: Batcher[str, int, int] = Batcher(run, most=lambda key: 2, wait=30.0)
    first = batcher.submit("a", 1)
    second = batcher.submit("a", 2)  # fills the batch, so nobody waits half a minute
    assert (first.result(10), second.result(10)) == (1, 2)
    assert batches == [[1, 2]]
    batcher.close()


def segment_at_once(service: Service, names: str, pictures: list[np.ndarray]) -> list[Segmentation]:
    async def all_of_them() -> list[Segmentation]:
        ask = service.ask(names)
        return await asyncio.gather(*(service.segment(picture, ask) for picture in pictures))

    return asyncio.run(all_of_them())


def test_requests_that_went_together_get_what_they_get_alone(
    make_service: MakeService, segmenter: Segmenter
) -> None:
    service = make_service()
    pictures = [draw_scene(20_003, page, (96, 128)).image for page in range(5)]
    pictures += [draw_scene(20_003, page, 96).image for page in range(2)]
    together = segment_at_once(service, "cat, sky, brick", pictures)
    for picture, result in zip(pictures, together, strict=True):
        assert np.array_equal(result.image, picture)
        alone = segmenter(picture, "cat, sky, brick")
        assert np.mean(result.labels == alone.labels) > 0.999  # rounding decides ties
    metrics = service.metrics.text().decode()
    assert "cascade_clip_batch_pictures_sum 7.0" in metrics
    batches = next(line for line in metrics.splitlines() if "batch_pictures_count" in line)
    assert 2 <= float(batches.split()[1]) < 7  # two sizes, and some went together


def test_large_pictures_go_alone(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "BATCH_PIXELS", 96 * 128)
    service = make_service()
    segment_at_once(service, "cat, sky", [SCENE] * 3)
    assert "cascade_clip_batch_pictures_count 3.0" in service.metrics.text().decode()


def test_encoded_names_are_kept_within_bounds(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "CACHED_QUERIES", 2)
    segmenter = Segmenter.from_pretrained()
    encoded: list[str] = []
    encoder = segmenter.clip.text_encoder
    monkeypatch.setattr(encoder, "remembered", 4)
    encode = encoder.encode_texts

    def counted(texts: list[str]):  # type: ignore[no-untyped-def]
        encoded.extend(texts)
        return encode(texts)

    monkeypatch.setattr(encoder, "encode_texts", counted)
    service = make_service(segmenter)
    small = np.asarray(Image.fromarray(SCENE).resize((16, 16)))
    for names in ("cat, sky", "dog, sky", "cat, sky", "tree, car, sun", "cat, sky"):
        segment_at_once(service, names, [small])
    # The repeated list is still known as a query after its names had to go.
    assert [text.split()[-1] for text in encoded] == ["cat", "sky", "dog", "tree", "car", "sun"]


def test_a_network_that_does_not_show_its_stages_is_served_as_a_whole(
    make_service: MakeService, segmenter: Segmenter
) -> None:
    class Sealed(nn.Module):
        """As an exported file is: it gives mask logits and nothing else."""

        patch_size = segmenter.network.patch_size

        def forward(self, image: Tensor, text_embeddings: Tensor) -> ExportedOutput:
            return ExportedOutput(segmenter.network(image, text_embeddings).mask_logits)

    sealed: Any = Sealed()
    service = make_service(
        Segmenter(sealed, segmenter.clip, segmenter.trained_classes, segmenter.recipe)
    )
    assert list(service.views) == [ALL_STAGES] and service.stages == []
    (result,) = segment_at_once(service, "cat, sky", [SCENE])
    assert np.mean(result.labels == segmenter(SCENE, "cat, sky").labels) > 0.999


def test_a_flag_is_asked_for_apart_from_a_threshold_of_one(make_service: MakeService) -> None:
    service = make_service()
    flag = service.ask("cat, sky", background=True)
    number = service.ask("cat, sky", threshold=1.0)
    assert flag != number
    low, high = (service._query(ask).thresholds for ask in (flag, number))
    assert low is not None and high is not None
    assert max(low.tolist()) < 1 and high.tolist() == [1.0, 1.0]
