"""The figures that this package set out to reach on a CPU, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

LEAST_AGREEMENT = 0.995
"""Share of pixels that keep their class, for a precision to count."""


def goals(parts: Mapping[str, Json]) -> list[tuple[str, str, str]]:
    """(what, aimed at, reached), from the results of all parts on the CPU."""
    found = {part: measured["result"] for part, measured in parts.items()}
    inference, training = found["inference"]["rows"], found["training"]["rows"]
    memory, agreement = found["memory"], found["agreement"]
    base = memory["training"]["reference"]["above"]
    exact = [name for name, row in agreement.items() if row["agreement"] >= LEAST_AGREEMENT]
    best = max(exact, key=lambda name: inference[name]["ratio"])
    after = inference["fp32"]["after_encoder_ratio"]
    many = memory["many classes"]["fp32"]["process"] / 1024
    return [
        ("inference, fp32", "1.3 times faster", _times(inference["fp32"]["ratio"])),
        ("everything after the encoder, fp32", "5 times faster", _times(after)),
        (
            f"inference, the best with at least {LEAST_AGREEMENT:.1%} of pixels unchanged",
            "2.5 times faster, better 4",
            f"{_times(inference[best]['ratio'])} ({best})",
        ),
        ("training step, fp32", "1.5 times faster", _times(training["fp32"]["ratio"])),
        ("training step, bf16", "2.5 times faster", _times(training["bf16"]["ratio"])),
        *(
            (
                f"training step, {name}, memory above the model",
                "1/3",
                f"1/{base / memory['training'][name]['above']:.1f}",
            )
            for name in ("fp32", "bf16", "bf16, checkpointed")
        ),
        ("1,000 classes on 2048 x 1536 pixels, fp32, whole process", "3 GB", f"{many:.1f} GB"),
    ]


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times"
