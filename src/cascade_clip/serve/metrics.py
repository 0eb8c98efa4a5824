"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PICTURES = (1, 2, 4, 8)


class ServiceMetrics:
    """Counters of one server, in a registry of their own. `source` is "rest" or "page"."""

    def __init__(self, queue_length: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cascade_clip_requests",
            "Requests for a segmentation that were let in.",
            ["source"],
            registry=self.registry,
        )
        self.errors = Counter(
            "cascade_clip_errors",
            "Requests that ended without a result, by reason.",
            ["source", "reason"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "cascade_clip_request_seconds",
            "Time from the end of the upload to the answer, in seconds.",
            ["source"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "cascade_clip_batch_pictures",
            "Pictures that went through the network together.",
            buckets=_PICTURES,
            registry=self.registry,
        )
        queue = Gauge(
            "cascade_clip_queue_length",
            "Requests that wait for the network.",
            registry=self.registry,
        )
        queue.set_function(queue_length)

    def count_error(self, source: str, reason: str) -> None:
        self.errors.labels(source, reason).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
