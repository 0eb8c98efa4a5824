"""What a request may ask for, and how one that asks for more is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cascade_clip.errors import UserError
from cascade_clip.io.images import RGBArray, TooManyPixels, read_picture_bytes
from cascade_clip.io.overlay import short_name

RETRY_AFTER = 5
"""Seconds after which a client that met a busy server should come back."""


def shortened(reason: str, most: int = 500) -> str:
    """A reason without the middle of what a client sent too much of."""
    if len(reason) <= most:
        return reason
    return f"{reason[: most // 2 - 1]} … {reason[2 - most // 2 :]}"


class Refused(UserError):
    """A request that is turned down: an HTTP `status` and a `code` for programs."""

    def __init__(
        self, status: int, code: str, reason: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """What one request may take. All values are at least 1."""

    megabytes: float = 20.0
    """Size of a request's body, in 10^6 bytes."""
    megapixels: float = 25.0
    """Size of a picture, in 10^6 pixels; read from its header before it is unpacked."""
    classes: int = 256
    """Names in one request, synonyms included."""
    name_length: int = 100
    """Characters of one name."""
    queue: int = 32
    """Requests that are worked on or wait, together."""
    seconds: float = 60.0
    """Time from the end of the upload to the answer, and for the upload itself."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 1:
                raise UserError(f"the limit of {name.replace('_', ' ')} is at least 1, got {value}")

    @property
    def body_bytes(self) -> int:
        return int(self.megabytes * 1e6)

    @property
    def click_bytes(self) -> int:
        """What a click on the page sends: its text fields and the names of files, no pictures."""
        return 50_000 + 4 * self.classes * (self.name_length + 2)

    @property
    def client_bytes(self) -> int:
        """What the page keeps of one client's uploads; the oldest go when there are more."""
        return 10 * self.body_bytes

    @property
    def folder_bytes(self) -> int:
        """What the page keeps of all clients, results included."""
        return 50 * self.body_bytes

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)

    def read_picture(self, data: bytes) -> RGBArray:
        """The picture (H, W, 3) in an uploaded file.

        Raises `Refused` if it is too large or unreadable.
        """
        if len(data) > self.body_bytes:
            raise self.too_many_bytes()
        try:
            return read_picture_bytes(data, max_pixels=self.pixels)
        except TooManyPixels as error:
            raise Refused(413, "too_many_pixels", str(error)) from error
        except UserError as error:
            raise Refused(422, "unreadable_picture", str(error)) from error

    def check_names(self, names: Sequence[str]) -> None:
        """Raises `Refused` for too many names or one that is too long."""
        if len(names) > self.classes:
            raise Refused(
                422,
                "too_many_classes",
                f"{len(names):,} class names; at most {self.classes:,} are taken at once",
            )
        for name in names:
            if len(name) > self.name_length:
                raise Refused(
                    422,
                    "name_too_long",
                    f"class name '{short_name(name)}' has {len(name):,} characters; at most "
                    f"{self.name_length} are taken",
                )

    def too_many_bytes(self) -> Refused:
        return Refused(
            413,
            "too_many_bytes",
            f"the request is larger than {self.megabytes:g} MB, which is the most that is taken",
        )

    def queue_full(self) -> Refused:
        return Refused(
            503,
            "queue_full",
            f"{self.queue} requests are waiting already; try again later",
            retry_after=RETRY_AFTER,
        )

    def timed_out(self) -> Refused:
        return Refused(
            503,
            "timed_out",
            f"the request took longer than {self.seconds:g} s; try again later, with a smaller "
            "picture or fewer classes",
            retry_after=RETRY_AFTER,
        )
