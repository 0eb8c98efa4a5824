"""What is varied: the ablation tables of the Cascade-CLIP paper (arXiv 2406.00670), and our own.

Block numbers are those of a 12-block encoder. Where the paper names a variant without its blocks,
the comment says what was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from cascade_clip.config import EncoderSettings
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean


@dataclass(frozen=True)
class Variant:
    """One row: settings on top of the recipe, and the published hIoU in percent where there is one.

    `settings` are `key=value` overrides.
    """

    name: str
    settings: tuple[str, ...]
    published: float | None = None


@dataclass(frozen=True)
class AblationTable:
    """A question and its variants. `published_on` says what the published figures were measured
    on; "" where none are."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    published_on: str = ""
    note: str = ""


def _stages(*stages: Sequence[int]) -> str:
    return f"model.head.stages={[list(stage) for stage in stages]}"


LAST = "model.head.aggregation=last"
SINGLE = (_stages([12]), LAST)
CASCADE = (_stages([6, 7, 8], [9, 10, 11], [12]), "model.head.aggregation=nga")
FUSION = (_stages(range(6, 13)), "model.head.aggregation=self-attention")
FROZEN = ("model.encoder.tuning=frozen", "model.encoder.prompts=0")
SPECTRAL = (
    "model.encoder.tuning=spectral-prompts",
    "model.head.kind=spectral",
    "loss.dice_weight=0.0",
    "loss.ssim_weight=1.0",
)
COCO = "COCO-Stuff, inductive"
VOC = "VOC 2012, inductive"

METHODS = AblationTable(
    "methods",
    "Methods (Tables 1, 4 and 10)",
    (
        Variant("ZegCLIP: last block only", SINGLE, 39.8),
        Variant("naive fusion of blocks 6-12", FUSION, 38.4),
        Variant("cascade, last block of each stage", (CASCADE[0], LAST), 41.7),
        Variant("cascade with NGA (Cascade-CLIP)", CASCADE, 42.2),
        Variant("frozen CLIP", (*FROZEN, *SINGLE), 32.4),
        Variant("frozen CLIP + cascade", (*FROZEN, *CASCADE), 35.8),
        Variant("SPT-SEG", (*SPECTRAL, *SINGLE), 39.3),
        Variant("SPT-SEG + cascade", (*SPECTRAL, *CASCADE), 41.8),
    ),
    COCO,
    "The paper's cascade without NGA is taken to read the last block of each stage, its naive "
    "fusion to be the self-attention row of Table 8. Published hIoU of frozen CLIP and SPT-SEG "
    "follows from the published S and U. SPT-SEG's decoder starts at random, not at CLIP's "
    "similarity as the others here, so it needs more steps. All rows have the recipe's learning "
    "rate; the picture book's benchmark searches one for each method.",
)

OTSEG = (
    "model.head.kind=otseg",
    "model.head.test_scores=ensemble",
    "data.templates=many",
    "data.average_templates=false",
)
CLIP_RC = ("model.encoder.regions=4", "model.head.kind=clip-rc", "model.head.recovery_weight=2.0")
RPN = ("model.encoder.tuning=relationship-prompts", "model.head.kind=rpn")

FAMILY = AblationTable(
    "family",
    "The family of ZegCLIP, each with the cascade",
    (
        Variant("ZegCLIP", SINGLE, 39.8),
        Variant("Cascade-CLIP", CASCADE, 42.2),
        Variant("OTSeg+", (*OTSEG, *SINGLE), 41.5),
        Variant("OTSeg+ with the cascade", (*OTSEG, *CASCADE)),
        Variant("CLIP-RC", (*CLIP_RC, *SINGLE), 41.2),
        Variant("CLIP-RC with the cascade", (*CLIP_RC, *CASCADE)),
        Variant("RPN", (*RPN, *SINGLE)),
        Variant("RPN with the cascade", (*RPN, *CASCADE)),
    ),
    COCO,
    "Published hIoU of OTSeg+ and CLIP-RC follows from their own S and U; with the cascade nobody "
    "has published them. All rows have the recipe's learning rate; the picture book's benchmark "
    "searches one for each method.",
)

STAGES = AblationTable(
    "stages",
    "Stages (Tables 5, 7 and 15)",
    (
        Variant("{12}", SINGLE, 39.8),
        Variant("{9-11}{12}", (_stages([9, 10, 11], [12]),), 40.2),
        Variant("{6-8}{9-11}{12}", (_stages([6, 7, 8], [9, 10, 11], [12]),), 42.2),
        Variant("{3-5}{6-8}{9-11}{12}", (_stages([3, 4, 5], [6, 7, 8], [9, 10, 11], [12]),), 41.7),
        Variant("{4-6}{7-9}{10-12}", (_stages([4, 5, 6], [7, 8, 9], [10, 11, 12]),), 41.5),
        Variant("{6-8}{9-10}{11-12}", (_stages([6, 7, 8], [9, 10], [11, 12]),), 41.5),
        Variant("{6-8}{12}", (_stages([6, 7, 8], [12]),)),
        Variant("{6-8}{9-11}", (_stages([6, 7, 8], [9, 10, 11]),)),
        Variant("{6-8}", (_stages([6, 7, 8]),)),
        Variant("{9-11}", (_stages([9, 10, 11]),)),
    ),
    COCO,
    "Two and four stages are taken to be {9-11}{12} and {3-5}{6-8}{9-11}{12}. Pairs of stages, "
    "trained anew, are published as a range, 40.2 to 41.3; {6-8} and {9-11} alone are ours.",
)

BLOCKS_PER_STAGE = AblationTable(
    "blocks-per-stage",
    "Blocks of a stage (Table 6)",
    (
        Variant("2: {8-9}{10-11}{12}", (_stages([8, 9], [10, 11], [12]),), 41.0),
        Variant("3: {6-8}{9-11}{12}", (_stages([6, 7, 8], [9, 10, 11], [12]),), 42.2),
        Variant("4: {4-7}{8-11}{12}", (_stages([4, 5, 6, 7], [8, 9, 10, 11], [12]),), 41.3),
    ),
    COCO,
)

AGGREGATION = AblationTable(
    "aggregation",
    "Aggregation within a stage (Table 8)",
    (
        Variant("self-attention", ("model.head.aggregation=self-attention",), 38.4),
        Variant("concatenation", ("model.head.aggregation=concat",), 40.5),
        Variant("sum", ("model.head.aggregation=sum",), 40.6),
        Variant("sum, trained weights", ("model.head.aggregation=sum-trained",), 40.5),
        Variant("NGA, fixed", ("model.head.aggregation=nga-fixed",), 41.9),
        Variant("NGA, trained", ("model.head.aggregation=nga",), 42.2),
    ),
    COCO,
)

QUERIES = AblationTable(
    "queries",
    "Query projection (Table 9)",
    (
        Variant("shared by all stages", ("model.head.shared_queries=true",), 41.4),
        Variant("one for each stage", ("model.head.shared_queries=false",), 42.2),
    ),
    COCO,
)

PROMPTS = AblationTable(
    "prompts",
    "Prompt tokens per block (Table 14)",
    (
        Variant("7 (for 35)", ("model.encoder.prompts=7",), 41.4),
        Variant("10 (for 50)", ("model.encoder.prompts=10",), 42.2),
        Variant("20 (for 100)", ("model.encoder.prompts=20",), 41.4),
    ),
    COCO,
    "The tiny encoder gets a fifth of the published numbers.",
)

SIGMA = AblationTable(
    "sigma",
    "Width of the neighbourhood Gaussian (Table 16)",
    (
        Variant("0.8", ("model.head.sigma=0.8",), 87.3),
        Variant("1.0", ("model.head.sigma=1.0",), 87.7),
        Variant("1.2", ("model.head.sigma=1.2",), 85.1),
    ),
    VOC,
)

FOCAL_WEIGHT = AblationTable(
    "focal-weight",
    "Weight of the focal loss (Table 18)",
    tuple(
        Variant(f"{weight}", (f"loss.focal_weight={weight}.0",), published)
        for weight, published in ((10, 79.3), (50, 85.9), (100, 87.7), (150, 86.7))
    ),
    VOC,
)

PROJECTION = AblationTable(
    "projection",
    "Projection of the intermediate levels",
    tuple(
        Variant(name, (f"model.encoder.level_projection={name}",))
        for name in get_args(EncoderSettings.model_fields["level_projection"].annotation)
    ),
    note="The released code leaves these projections at their random start; the value path is that "
    "of the last block, as in SC-CLIP, and adds no weights.",
)

_RELEASED = (
    "model.encoder.class_embedding_twice=true",
    "model.encoder.level_projection=random-frozen",
    "model.head.decoder_start=released",
    "data.normalise=imagenet",
    "inference.seen_score_offset=0.1",
)


def _one_after_the_other(*changes: tuple[str, tuple[str, ...]]) -> list[Variant]:
    """Each variant has all settings of those before it."""
    settings: tuple[str, ...] = ()
    variants = []
    for name, change in changes:
        settings += change
        variants.append(Variant(name, settings))
    return variants


IMPROVED = AblationTable(
    "improved",
    "From the released settings to ours, one change after the other",
    (
        Variant("released settings, learning rate 2e-4", (*_RELEASED, "train.lr=2.0e-4")),
        *_one_after_the_other(
            ("released settings, learning rate of the recipe", _RELEASED),
            ("+ class embedding once", ("model.encoder.class_embedding_twice=false",)),
            ("+ CLIP's own normalisation", ("data.normalise=clip",)),
            (
                "+ projections from CLIP, trained",
                ("model.encoder.level_projection=clip-trained",),
            ),
            ("+ decoder starts at CLIP's similarity", ("model.head.decoder_start=identity",)),
            ("+ no seen-score offset", ("inference.seen_score_offset=0.0",)),
            (
                "+ levels through the last block's values (improved)",
                ("model.encoder.level_projection=value-path",),
            ),
        ),
    ),
)

TABLES = {
    table.name: table
    for table in (
        METHODS, FAMILY, IMPROVED, STAGES, BLOCKS_PER_STAGE, AGGREGATION, QUERIES, PROMPTS, SIGMA,
        FOCAL_WEIGHT, PROJECTION,
    )
}  # fmt: skip


def read_tables(names: Sequence[str]) -> list[AblationTable]:
    """The tables of those names; `all` stands for all of them. Raises `UserError`."""
    if "all" in names:
        return list(TABLES.values())
    there_are = f"there are {', '.join(TABLES)}, and all"
    if not names:
        raise UserError(f"no ablation is named; {there_are}")
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        hint = did_you_mean(unknown[0], TABLES)
        raise UserError(f"unknown ablation '{', '.join(unknown)}'; {there_are}{hint}")
    return [TABLES[name] for name in dict.fromkeys(names)]
