"""One row per picture, for programs that go on from there: JSON lines or Parquet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cascade_clip.batch.formats.pictures import Placement
from cascade_clip.batch.labels import Labels
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole
from cascade_clip.support.printable import printable

ROWS_AT_ONCE = 1000


def write_jsonl(labels: Labels, out: Path, placement: Placement) -> None:
    """`labels.jsonl`: picture, size, confidence, segments (index, name, box, run-length
    code) and the path of the mask. Pictures stay where they are."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for entry, segments in labels.with_segments():
                row = {
                    "name": entry.name,
                    "picture": entry.source,
                    "stamp": entry.stamp,
                    "width": entry.width,
                    "height": entry.height,
                    "confidence": entry.confidence,
                    "segments": [asdict(s) | {"name": labels.classes[s.label]} for s in segments],
                    "mask": str(labels.mask(entry.name)),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    write_whole(out / "labels.jsonl", write)


def write_parquet(labels: Labels, out: Path, placement: Placement) -> None:
    """`labels.parquet`: picture, size, confidence, class names, the pixels of each
    class, and the mask as the bytes of a PNG. Pictures stay where they are.

    Raises `UserError` without pyarrow, which comes with the extra `ray`.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: pip install pyarrow") from error
    schema = pa.schema(
        [
            ("name", pa.string()), ("picture", pa.string()), ("width", pa.int32()),
            ("height", pa.int32()), ("confidence", pa.float32()),
            ("classes", pa.list_(pa.string())), ("pixels", pa.list_(pa.int64())),
            ("mask_png", pa.binary()),
        ]
    )  # fmt: skip

    def write(path: Path) -> None:
        rows: list[dict[str, object]] = []
        with pq.ParquetWriter(path, schema) as writer:
            for entry, segments in labels.with_segments():
                pixels = [0] * len(labels.classes)
                for segment in segments:
                    pixels[segment.label] += segment.area
                rows.append(
                    {
                        "name": entry.name, "picture": printable(entry.source),
                        "width": entry.width, "height": entry.height,
                        "confidence": entry.confidence,
                        "classes": list(labels.classes), "pixels": pixels,
                        "mask_png": labels.mask(entry.name).read_bytes(),
                    }
                )  # fmt: skip
                if len(rows) == ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))

    write_whole(out / "labels.parquet", write)
