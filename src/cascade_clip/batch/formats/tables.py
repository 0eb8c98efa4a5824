"""One row per picture, for programs that go on from there: JSON lines or Parquet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cascade_clip.batch.formats.pictures import Placement
from cascade_clip.batch.records import Store
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole
from cascade_clip.support.printable import printable

ROWS_AT_ONCE = 1000


def write_jsonl(store: Store, out: Path, placement: Placement) -> None:
    """`labels.jsonl`: picture, size, confidence, segments (index, name, box, run-length
    code) and the path of the mask. Pictures stay where they are."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for record in store:
                row = asdict(record) | {"mask": str(store.mask(record.name))}
                for segment in row["segments"]:
                    segment["name"] = store.classes[segment["label"]]
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    write_whole(out / "labels.jsonl", write)


def write_parquet(store: Store, out: Path, placement: Placement) -> None:
    """`labels.parquet`: picture, size, confidence, class names, the pixels of each
    class, and the mask as the bytes of a PNG. Pictures stay where they are.

    Raises `UserError` without pyarrow, which comes with the extra `ray`.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("Parquet needs pyarrow: pip install 'cascade-clip[ray]'") from error
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
            for record in store:
                pixels = [0] * len(store.classes)
                for segment in record.segments:
                    pixels[segment.label] += segment.area
                rows.append(
                    {
                        "name": record.name, "picture": printable(record.picture),
                        "width": record.width, "height": record.height,
                        "confidence": record.confidence,
                        "classes": list(store.classes), "pixels": pixels,
                        "mask_png": store.mask(record.name).read_bytes(),
                    }
                )  # fmt: skip
                if len(rows) == ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))

    write_whole(out / "labels.parquet", write)
