"""The tables of docs/performance.md, from the JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance.goals import goals

from cascade_clip.io.files import write_text

Json = Mapping[str, Any]
MARKER = re.compile(r"(<!-- table: (?P<name>\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MIB = "MiB"


def write_page(page: Path, results: Path) -> None:
    """Fills every `<!-- table: DEVICE/PART -->` of the page for which there is a result."""
    found = {
        path.stem.removeprefix("performance-"): json.loads(path.read_text(encoding="utf-8"))
        for path in results.glob("performance-*.json")
    }

    def fill(match: re.Match[str]) -> str:
        device, _, part = match["name"].partition("/")
        if part in SUMMARIES:
            tables = [
                f"{title(shape, device)}{SUMMARIES[part](parts)}"
                for shape, parts in found.get(device, {}).items()
            ]
        else:
            tables = [
                f"{title(shape, device)}{TABLES[part](parts[part]['result'], parts)}"
                for shape, parts in found.get(device, {}).items()
                if part in parts
            ]
        text = "\n\n".join(tables) or "Not measured yet."
        return f"{match[1]}\n{text}\n\n{match[4]}"

    text = MARKER.sub(fill, page.read_text(encoding="utf-8"))
    write_text(page, text)


def title(shape: str, device: str) -> str:
    return "" if device.startswith("cpu") else f"{shape}:\n\n"


def machine(parts: Json) -> str:
    """One sentence on the hardware."""
    environments = [part["environment"] for part in parts.values()]
    env = environments[-1]
    loads = [each["load_average"] for each in environments if "load_average" in each]
    busy = f" Load average while measuring: {min(loads):g} to {max(loads):g}." if loads else ""
    return (
        f"{env['processor'] if env['device'] == 'cpu' else env['device']}"
        f"{' with ' + ', '.join(env['instructions']) if 'instructions' in env else ''}; "
        f"{env['cpu_cores']} cores, of which {env['torch_threads']} computed; "
        f"torch {env['packages']['torch']}, Python {env['python']}.{busy}"
    )


def goal_table(parts: Json) -> str:
    return markdown(["", "aimed at", "reached"], goals(parts))


SUMMARIES = {"machine": machine, "goals": goal_table}
"""Of all parts together."""


def peaks(result: Json, parts: Json) -> str:
    rows = [[kind, f"{rate:.0f}"] for kind, rate in result.items()]
    return markdown(["matrix products", "GFLOP/s"], rows)


def inference(result: Json, parts: Json) -> str:
    """Times, ratios and agreement; and how near the machine's peak."""
    rate = parts["peaks"]["result"] if "peaks" in parts else {}
    rows = []
    for name, row in result["rows"].items():
        reached = result["encoder_gflop"] / row["encoder_s"]
        peak = rate.get(peak_name(name))
        rows.append(
            [
                name,
                milliseconds(row["processor_s"]),
                ratio(row),
                f"{row['wall_ratio']:.2f}",
                f"{milliseconds(row['encoder_s'])} ({row['encoder_ratio']:.2f})",
                f"{milliseconds(row['after_encoder_s'])} ({row['after_encoder_ratio']:.1f})",
                f"{reached:.0f} ({reached / peak:.0%})" if peak else "",
                f"{row['agreement']:.2%}",
            ]
        )
    heads = ["", "ms", "times faster (quartiles)", "by wall clock", "encoder, ms (times faster)"]
    heads += ["after it, ms (times faster)", "GFLOP/s (of the peak)", "same class"]
    return markdown(heads, rows)


def compiled(result: Json, parts: Json) -> str:
    rows = [
        [
            name,
            milliseconds(row["processor_s"]),
            ratio(row),
            f"{row['first_wall_s']:.0f}",
            f"{row['agreement']:.2%}",
        ]
        for name, row in result["rows"].items()
    ]
    return markdown(["", "ms", "times faster (quartiles)", "first call, s", "same class"], rows)


def training(result: Json, parts: Json) -> str:
    rows = [
        [name, f"{row['processor_s']:.2f}", ratio(row), f"{row['wall_ratio']:.2f}"]
        for name, row in result["rows"].items()
    ]
    return markdown(["", "s", "times faster (quartiles)", "by wall clock"], rows)


def memory(result: Json, parts: Json) -> str:
    """Both tasks side by side, above model and picture; then whole processes with many classes."""
    rows = []
    for name in dict.fromkeys([*result["inference"], *result["training"]]):
        cells = [name]
        for task in ("inference", "training"):
            if name not in result[task]:
                cells += ["", ""]
                continue
            own, base = result[task][name]["above"], next(iter(result[task].values()))["above"]
            cells += [f"{own:.0f}", f"1/{base / own:.1f}" if own != base else "1"]
        rows.append(cells)
    heads = ["", f"inference, {MIB}", "share", f"training step, {MIB}", "share"]
    many = [[name, f"{own['process']:.0f}"] for name, own in result["many classes"].items()]
    large = markdown(["1,000 classes, 2048 x 1536 pixels", f"whole process, {MIB}"], many)
    return f"{markdown(heads, rows)}\n\n{large}"


def scaling(result: Json, parts: Json) -> str:
    """One table: milliseconds per picture and ratio, for each thing that grows."""
    rows = []
    for what, points in result.items():
        for point, found in points.items():
            cells = [what, point]
            for name, row in found.items():
                per_picture = milliseconds(1 / row["pictures_per_s"])
                first = name == next(iter(found))
                cells.append(per_picture if first else f"{per_picture} ({row['ratio']:.2f})")
            rows.append(cells)
    names = [f"{name}, ms" for name in next(iter(next(iter(result.values())).values()))]
    return markdown(["more", "", *names], rows)


def batches(result: Json, parts: Json) -> str:
    """Pictures per second and ratio, a row for each implementation, a column for each batch; of
    inference also the share of the machine's peak that the encoder's products alone make up."""
    peaks_of = parts["peaks"]["result"] if "peaks" in parts else {}
    tables = []
    for task in ("inference", "training"):
        points = result[task]
        rows = []
        for name in next(iter(points.values())):
            peak = peaks_of.get(peak_name(name)) if task == "inference" else None
            cells = [name]
            for found in points.values():
                row = found[name]
                text = f"{row['pictures_per_s']:.1f} ({row['ratio']:.2f})"
                if peak:
                    text += f" {row['pictures_per_s'] * result['encoder_gflop'] / peak:.0%}"
                cells.append(text)
            rows.append(cells)
        share = " share of the peak" if task == "inference" and peaks_of else ""
        heads = [f"{task}, pictures/s (times faster){share}"]
        tables.append(markdown([*heads, *(f"batch {batch}" for batch in points)], rows))
    return "\n\n".join(tables)


def peak_name(implementation: str) -> str:
    """The kind of matrix product that bounds an implementation."""
    for part, kind in (("TF32", "tf32"), ("autocast", "bf16"), ("bf16", "bf16"), ("int8", "int8")):
        if part in implementation:
            return kind
    return "fp32"


def profile(result: Json, parts: Json) -> str:
    """Shares of time by kind of operator."""
    names = [(task, name) for task in result for name in result[task]]
    kinds: dict[str, float] = {}
    for task, name in names:
        for kind, share in result[task][name].items():
            kinds[kind] = max(kinds.get(kind, 0.0), share)
    rows = [
        [kind, *(percent(result[task][name].get(kind, 0.0)) for task, name in names)]
        for kind, most in sorted(kinds.items(), key=lambda item: -item[1])
        if most >= 0.01
    ]
    return markdown(["", *(f"{task}, {name}" for task, name in names)], rows)


def agreement(result: Json, parts: Json) -> str:
    rows = [
        [
            name,
            f"{row['agreement']:.3%}",
            f"{row['agreement_of_decided']:.3%}",
            f"{row['pixel_accuracy']:.2%}",
        ]
        for name, row in result.items()
    ]
    decided = next(iter(result.values()))["decided"]
    heads = ["", "same class", f"same class where decided ({decided:.0%} of the pixels)"]
    return markdown([*heads, "right class"], rows)


TABLES = {
    "peaks": peaks,
    "inference": inference,
    "compiled": compiled,
    "training": training,
    "memory": memory,
    "scaling": scaling,
    "batches": batches,
    "profile": profile,
    "agreement": agreement,
}


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, *rows)]
    lines.insert(1, "|---" + "|---:" * (len(heads) - 1) + "|")
    return "\n".join(lines)


def ratio(row: Json) -> str:
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f}–{row['ratio_high']:.2f})"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def percent(share: float) -> str:
    return f"{share:.0%}"
