"""What the REST interface answers: results and facts about the model, as JSON or PNG."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, Field

from cascade_clip.inference.query import BACKGROUND_LABEL
from cascade_clip.io import coco
from cascade_clip.io.palette import to_hex
from cascade_clip.segmentation import Segmentation
from cascade_clip.serve.service import Service


class Rle(BaseModel):
    """COCO's compressed run-length code of a mask."""

    size: list[int] = Field(description="[height, width] of the picture.")
    counts: str


class ClassAnswer(BaseModel):
    """One class of the request; they come in its order."""

    name: str
    names: list[str] = Field(description="The name and its synonyms.")
    seen: bool = Field(description="Whether the model was trained on masks of one of the names.")
    seen_names: list[str] = Field(description="Which of them; their scores carry the offset.")
    colour: str = Field(description="#rrggbb, as in the PNG's palette.")
    share: float = Field(description="Part of the picture's pixels, 0 to 1.")
    area: int = Field(description="Pixels.")
    bbox: list[int] = Field(description="[left, top, width, height]; zeros for an empty mask.")
    rle: Rle


class BackgroundAnswer(BaseModel):
    """Pixels without a class."""

    share: float
    area: int


class SegmentAnswer(BaseModel):
    """The result of one picture."""

    width: int
    height: int
    classes: list[ClassAnswer]
    background: BackgroundAnswer
    notes: list[str] = Field(description="What was done to the picture that you should know of.")


class ModelClasses(BaseModel):
    """Names of the model's training. Any other name may be asked for as well."""

    trained: list[str] = Field(description="With masks.")
    unseen: list[str] = Field(description="Of the data set, but withheld from training.")


class ModelLimits(BaseModel):
    """What one request may take."""

    megabytes: float
    megapixels: float
    classes: int
    name_length: int
    queue: int
    seconds: float


class ModelAnswer(BaseModel):
    """The model that answers."""

    version: str = Field(description="Of cascade-clip.")
    model: str
    note: str | None
    clip: str
    clip_fingerprint: str = Field(description="SHA-256 of its weights.")
    stages: list[str] = Field(
        description="The blocks of CLIP that each stage of the network reads."
    )
    classes: ModelClasses
    limits: ModelLimits


DRAWN_SCENES_NOTE = (
    "The embedded model knows drawn scenes only; its masks of photographs mean nothing. For "
    "photographs: cascade-clip serve --clip ViT-B-16/openai"
)


def segment_answer(result: Segmentation, notes: Sequence[str] = ()) -> SegmentAnswer:
    """A result as JSON holds it."""
    height, width = result.labels.shape
    empty = coco.RLE(size=[height, width], counts=coco.compress([height * width]))
    classes = []
    for index, entry in enumerate(result.legend):
        mask = result.labels == index if entry.share > 0 else None
        classes.append(
            ClassAnswer(
                name=entry.name,
                names=list(entry.names),
                seen=bool(entry.seen),
                seen_names=list(entry.seen),
                colour=to_hex(entry.colour),
                share=entry.share,
                area=0 if mask is None else int(mask.sum()),
                bbox=[0, 0, 0, 0] if mask is None else coco.bounding_box(mask),
                rle=Rle(**(empty if mask is None else coco.encode_mask(mask))),
            )
        )
    none = int(np.count_nonzero(result.labels == BACKGROUND_LABEL))
    return SegmentAnswer(
        width=width,
        height=height,
        classes=classes,
        background=BackgroundAnswer(share=none / result.labels.size, area=none),
        notes=list(notes),
    )


def index_png(result: Segmentation) -> bytes:
    """The labels as a PNG whose pixels are class indices (see `Segmentation.label_image`); the text
    `classes` in it holds the names as a JSON list."""
    text = PngInfo()
    text.add_itxt("classes", json.dumps(result.classes, ensure_ascii=False))
    buffer = io.BytesIO()
    result.label_image().save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def model_answer(service: Service) -> ModelAnswer:
    """What `GET /v1/model` says."""
    segmenter = service.segmenter
    trained = segmenter.trained_classes
    return ModelAnswer(
        version=service.version,
        model=service.model,
        note=DRAWN_SCENES_NOTE if service.drawn_scenes_only else None,
        clip=segmenter.clip.name,
        clip_fingerprint=segmenter.clip.fingerprint,
        stages=service.stages,
        classes=ModelClasses(
            trained=[] if trained is None else list(trained.seen),
            unseen=[] if trained is None else list(trained.unseen),
        ),
        limits=ModelLimits(**vars(service.limits)),
    )
