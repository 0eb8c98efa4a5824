"""Warnings that point at the line of whoever called this package."""

from __future__ import annotations

import inspect
import warnings


def warn_caller(message: str, category: type[Warning]) -> None:
    """As `warnings.warn`, at the first line outside this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cascade_clip."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)
