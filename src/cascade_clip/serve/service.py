"""What the page and the REST interface ask for: one model, its limits, its queue, its counters."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from cascade_clip.checkpoint.locate import EMBEDDED
from cascade_clip.class_names import TypedClasses
from cascade_clip.errors import UserError
from cascade_clip.evaluation.stages import StageView, stage_names
from cascade_clip.inference.predictor import BATCH, BATCH_PIXELS
from cascade_clip.inference.query import Query, read_background_names, read_thresholds
from cascade_clip.inference.windows import Size
from cascade_clip.io.images import RGBArray
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.batching import Batcher
from cascade_clip.serve.limits import Limits, Refused, shortened
from cascade_clip.serve.metrics import ServiceMetrics

ALL_STAGES = "all stages"
CACHED_QUERIES = 64


@dataclass(frozen=True)
class Ask:
    """What a request asks of its picture, before anything is encoded."""

    typed: TypedClasses
    background: bool = False
    threshold: float | None = None
    """A field of its own, since 1.0 == True."""
    background_names: bool | tuple[str, ...] | None = None
    thresholds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class _Work:
    """What jobs must share to go through the network together."""

    ask: Ask
    view: str
    size: Size
    scores: bool


class Service:
    """Segments pictures for many clients at once, within limits.

    `views` are the ways to look at a picture: the whole network, and if it has several stages, each
    of them by itself.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits, *, model: str = EMBEDDED) -> None:
        self.segmenter = segmenter
        self.limits = limits
        self.model = model
        self.version = version("cascade-clip")
        self.drawn_scenes_only = segmenter.recipe.model.clip.embedded
        self.views = _views(segmenter)
        self._queries: OrderedDict[Ask, Query] = OrderedDict()
        self._inside = 0
        self._batcher: Batcher[_Work, RGBArray, Segmentation] = Batcher(
            self._segment_together, most=_most
        )
        self.metrics = ServiceMetrics(self._batcher.waiting)

    @property
    def stages(self) -> list[str]:
        """`blocks 6-8`, ...: what each stage of the network reads; none for exported files."""
        return _stages(self.segmenter)

    def close(self) -> None:
        self._batcher.close()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places in the queue; raises `Refused` when none is free."""
        if self._inside >= self.limits.queue:
            raise self.limits.queue_full()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def request(self, source: str) -> AsyncIterator[None]:
        """One request from arrival to answer: let in if there is room, timed and counted.

        Raises `Refused` for a full queue, a request that takes too long, and in the place of any
        other `UserError`.
        """
        started = time.monotonic()
        try:
            with self.place():
                self.metrics.requests.labels(source).inc()
                try:
                    async with asyncio.timeout(self.limits.seconds):
                        yield
                finally:
                    self.metrics.seconds.labels(source).observe(time.monotonic() - started)
        except Exception as error:
            refused = self._as_refusal(error)
            self.metrics.count_error(source, refused.code if refused else "internal_error")
            if refused is None or refused is error:
                raise
            raise refused from error

    def ask(
        self,
        classes: str | TypedClasses | None,
        *,
        background: bool = False,
        threshold: float | None = None,
        background_names: bool | tuple[str, ...] | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> Ask:
        """What is asked, with class names as `Segmenter` takes them, within the limits.

        Raises `UserError` for what can't be asked.
        """
        typed = self.segmenter.read_classes(classes)
        behind = read_background_names(typed, background_names or False)
        self.limits.check_names((*typed.names, *behind))
        read_thresholds(typed, background if threshold is None else threshold, thresholds)
        by_class = tuple(sorted((thresholds or {}).items()))
        return Ask(typed, background, threshold, background_names, by_class)

    async def read(self, data: bytes) -> RGBArray:
        """The picture in an uploaded file; raises `Refused`."""
        return await asyncio.to_thread(self.limits.read_picture, data)

    async def segment(
        self, image: RGBArray, ask: Ask, *, view: str = ALL_STAGES, scores: bool = False
    ) -> Segmentation:
        """The result for a picture (H, W, 3), together with other requests of the same kind;
        with `scores`, these are computed already."""
        work = _Work(ask, view, (image.shape[0], image.shape[1]), scores)
        return await asyncio.wrap_future(self._batcher.submit(work, image))

    def note(self, image: RGBArray) -> str | None:
        """What the client should know about how a picture (H, W, 3) is treated."""
        return self.segmenter.predictor.plan((image.shape[0], image.shape[1])).note

    def _as_refusal(self, error: Exception) -> Refused | None:
        if isinstance(error, Refused):
            return error
        if isinstance(error, TimeoutError):
            return self.limits.timed_out()
        if isinstance(error, UserError):
            return Refused(422, "bad_request", shortened(str(error)))
        return None

    def _segment_together(self, work: _Work, images: list[RGBArray]) -> list[Segmentation]:
        query = self._query(work.ask)
        self.metrics.batch.observe(len(images))
        results = self.views[work.view].segment_decoded(images, query)
        if work.scores:
            for result in results:
                _ = result.scores  # computed when first asked for: here, in the network's thread
        return results

    def _query(self, ask: Ask) -> Query:
        if ask in self._queries:
            self._queries.move_to_end(ask)
            return self._queries[ask]
        query = self.segmenter.query(
            ask.typed,
            background=ask.background if ask.threshold is None else ask.threshold,
            background_names=ask.background_names,
            thresholds=dict(ask.thresholds),
        )
        self._queries[ask] = query
        if len(self._queries) > CACHED_QUERIES:
            self._queries.popitem(last=False)
        return query


def _stages(segmenter: Segmenter) -> list[str]:
    """None for exported files, which don't show their stages."""
    network = segmenter.network
    return stage_names(network) if isinstance(network, SegmentationNetwork) else []


def _views(segmenter: Segmenter) -> dict[str, Segmenter]:
    names, network = _stages(segmenter), segmenter.network
    if len(names) < 2 or not isinstance(network, SegmentationNetwork):
        return {ALL_STAGES: segmenter}
    alone = {
        name: Segmenter(
            StageView(network, stage),
            segmenter.clip,
            segmenter.trained_classes,
            segmenter.recipe,
            templates=segmenter.templates,
            device=segmenter.device,
            max_windows=segmenter.predictor.max_windows,
        )
        for stage, name in enumerate(names)
    }
    return {ALL_STAGES: segmenter, **alone}


def _most(work: _Work) -> int:
    height, width = work.size
    return max(1, min(BATCH, BATCH_PIXELS // (height * width)))
