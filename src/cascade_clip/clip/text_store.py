"""Text embeddings on disk, so that names in many templates are encoded once, not at every start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cascade_clip.clip.weights import fingerprint
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole

CACHE_VARIABLE = "CASCADE_CLIP_CACHE"
"""Environment variable with the folder to keep things in; "" keeps nothing."""
KEPT = 4096
"""Names in a file; the oldest ones make room."""
_FORMAT = "1"
_WAIT_SECONDS = 5
_log = logging.getLogger("cascade_clip")


def cache_folder() -> Path | None:
    """Where to keep what can be computed again; None: nowhere."""
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    try:
        return Path.home() / ".cache" / "cascade-clip"
    except RuntimeError:  # no home
        return None


class TextStore:
    """Unit text embeddings (d,) by name, a file for each list of templates.

    `model` is open_clip's CLIP, told from others by its text encoder's weights. What can't be read
    or written is left out: a store saves time and decides nothing.
    """

    def __init__(self, folder: Path, model: Any) -> None:
        self.folder, self.model = folder, model

    def read(self, names: Sequence[str], templates: Sequence[str]) -> dict[str, Tensor]:
        """Those of `names` that are kept."""
        kept = self._kept(self._file(templates))
        return {name: kept[name] for name in names if name in kept}

    def add(self, templates: Sequence[str], embeddings: Mapping[str, Tensor]) -> None:
        """Keeps embeddings (d,) by name."""
        file = self._file(templates)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock"), timeout=_WAIT_SECONDS):
                entries = list((self._kept(file) | dict(embeddings)).items())[-KEPT:]
                names = [name for name, _ in entries]
                stacked = {"embeddings": torch.stack([value for _, value in entries])}  # (C, d)
                metadata = {"names": json.dumps(names)}
                write_whole(file, lambda path: save_file(stacked, path, metadata))
        except (OSError, UserError, Timeout) as error:
            _log.debug("text embeddings are not kept: %s", error)

    @cached_property
    def _encoder(self) -> str:
        """What tells this text encoder from others."""
        state = self.model.state_dict()
        return fingerprint({n: v for n, v in state.items() if not n.startswith("visual.")})

    def _file(self, templates: Sequence[str]) -> Path:
        described = json.dumps([_FORMAT, self._encoder, *templates])
        digest = hashlib.sha256(described.encode()).hexdigest()
        return self.folder / "text" / f"{digest}.safetensors"

    def _kept(self, file: Path) -> dict[str, Tensor]:
        """Everything in a file, oldest first; nothing if it can't be read."""
        try:
            with safe_open(file, "pt") as content:
                names = json.loads(content.metadata()["names"])
                return dict(zip(names, content.get_tensor("embeddings"), strict=True))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            if file.exists():
                _log.debug("kept text embeddings can't be read: %s", error)
            return {}
