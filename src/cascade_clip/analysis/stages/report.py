"""Results of `analyze stages` as files, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_clip.analysis.output import (
    Figures,
    Folder,
    Row,
    Setup,
    Summary,
    between,
    points,
)
from cascade_clip.analysis.stages import plots
from cascade_clip.analysis.stages.compute import (
    ALL,
    Judge,
    LevelWeights,
    StageMeasurements,
    class_gains,
    gain_over,
)
from cascade_clip.analysis.stages.confusion import largest_confusions, outcomes
from cascade_clip.evaluation.examples import Example
from cascade_clip.report import html
from cascade_clip.report.sections import percent, pictures_section

CONFUSIONS = 8
"""Pairs of classes in the table of what is taken from whom."""


@dataclass(frozen=True)
class StageFindings:
    """All that `analyze stages` found."""

    name: str
    ours: StageMeasurements
    weights: Sequence[LevelWeights]
    examples: Sequence[Example]
    other: str = ""
    theirs: StageMeasurements | None = None
    """What the model is held against."""

    @property
    def measured(self) -> dict[str, StageMeasurements]:
        """Both networks by name."""
        both = {self.name: self.ours}
        return both if self.theirs is None else both | {self.other: self.theirs}

    @property
    def split(self) -> bool:
        """Whether the pictures show both seen and unseen classes."""
        return self.ours.judged_by is Judge.HIOU


def write_stages(out: Path, found: StageFindings, setup: Setup) -> tuple[Summary, Path]:
    """Writes `stages.html`, `.json`, `.csv` and one PNG and CSV for each part; returns the summary
    and the page."""
    folder, summary = Folder(out), summarise(found)
    parts = [
        *_versions(folder, found),
        *_weights(folder, found),
        *_gains(folder, found),
        *(_confusion(folder, found) if found.split else ()),
        *(_offsets(folder, found) if found.split else ()),
        *_calibration(folder, found),
    ]
    best = {"best": vars(found.ours.curve.best())} if found.split else {}
    folder.summary("stages", setup, summary, {"offset": found.ours.offset} | best)
    sections = [*summary.sections(), *parts]
    return summary, folder.page("stages", f"The stages of {found.name}", setup, sections)


def summarise(found: StageFindings) -> Summary:
    """Metrics of all versions of the network, and what follows from them."""
    rows = []
    measured = {name: (found.ours, name) for name in found.ours.metrics}
    if found.theirs is not None:
        measured[found.other] = (found.theirs, ALL)
    for name, (where, version) in measured.items():
        m = where.metrics[version]
        values = (m.pixel_accuracy, m.miou, m.miou_seen, m.miou_unseen, m.hiou)
        rows.append((name, *map(percent, values)))
    note = (
        f"Percent, at the seen-score offset {found.ours.offset:g}. A stage is left out at test "
        "time only: the others were trained in its company. "
    )
    if found.split:
        note += (
            "The best offset was found by looking at the truth; choose one on other pictures than "
            "those it is reported on (--part calibration, where the data has that part)."
        )
    else:
        note += (
            "The pictures don't show both seen and unseen classes, so hIoU, offset and confusion "
            "between them are left out."
        )
    return Summary(
        "Stages", ("version", "pAcc", "mIoU", "S", "U", "h"), tuple(rows), tuple(_figures(found)),
        note,
    )  # fmt: skip


def _figures(found: StageFindings) -> Iterator[Figures]:
    ours, judge = found.ours, found.ours.judged_by
    for name in ours.metrics:
        if name.startswith("without "):
            gain, low, high = ours.gain(name)
            yield f"{judge} {name}", points(gain), between(low, high)
    if found.theirs is not None:
        gain, low, high = gain_over(ours, found.theirs)
        yield f"{judge} minus that of {found.other}", points(gain), between(low, high)
        gains = class_gains(ours, found.theirs).gains
        shown = int((~gains.isnan()).sum())
        yield f"classes with a gain over {found.other}", f"{int((gains > 0).sum())}/{shown}", ""
    if found.split:
        best = ours.curve.best()
        yield f"best seen-score offset (hIoU {percent(best.hiou)})", f"{best.offset:g}", ""
    by_kind = outcomes(ours.confusion, ours.classes)
    if len(by_kind) == 2:
        yield "unseen pixels labelled as a seen class", percent(by_kind["unseen"].other_kind), ""
        yield "seen pixels labelled as an unseen class", percent(by_kind["seen"].other_kind), ""
    reliability = ours.reliability["all classes"]
    yield "expected calibration error", f"{100 * reliability.error:.1f}", ""
    yield "mean score minus share of right pixels", points(reliability.overconfidence), ""


def _versions(folder: Folder, found: StageFindings) -> Iterator[str]:
    intervals = found.ours.intervals()
    figure = folder.figure("stages", plots.versions(found.ours.metrics, intervals))
    header = ["version", "pixel_accuracy", "miou", "miou_seen", "miou_unseen", "hiou"]
    header += ["hiou_low", "hiou_high"]
    rows = [
        (name, *m[:5], *intervals[name][:, 2].tolist()) for name, m in found.ours.metrics.items()
    ]
    folder.table("stages", header, rows)
    yield html.section(
        "Versions of the network",
        html.figure(figure, "Each stage by itself, and the network without it."),
    )
    if found.examples:
        classes = found.ours.classes
        folder.figure("pictures", plots.stage_pictures(found.examples, classes))
        note = (
            "Chosen by what they show, not by how well they went. Under each mask: the share of "
            "pixels that are right."
        )
        yield pictures_section("What each stage sees", note, found.examples, classes)


def _weights(folder: Folder, found: StageFindings) -> Iterator[str]:
    if not found.weights:
        return
    figure = folder.figure("weights", plots.weight_bars(found.weights))
    rows = [
        (stage.stage, block, start, learned)
        for stage in found.weights
        for block, start, learned in zip(stage.blocks, stage.start, stage.learned, strict=True)
    ]
    folder.table("weights", ("stage", "block", "start", "learned"), rows)
    caption = "Weights of the blocks in the sum that each stage decodes. They don't add up to 1."
    yield html.section("Weights of the blocks", html.figure(figure, caption))


def _gains(folder: Folder, found: StageFindings) -> Iterator[str]:
    if found.theirs is None:
        return
    gains, classes = class_gains(found.ours, found.theirs), found.ours.classes
    figure = folder.figure("gains", plots.gain_bars(gains, classes, found.name, found.other))
    low, high = gains.intervals.tolist()
    kinds = ["unseen" if name in classes.unseen else "seen" for name in gains.names]
    rows = zip(gains.names, kinds, gains.gains.tolist(), low, high, strict=True)
    folder.table("gains", ("class", "kind", "gain", "low", "high"), rows)
    caption = f"{found.name} minus {found.other}, measured on the same pictures."
    yield html.section("Gains and losses by class", html.figure(figure, caption))


def _confusion(folder: Folder, found: StageFindings) -> Iterator[str]:
    classes = found.ours.classes
    by_network = {
        name: outcomes(measured.confusion, measured.classes)
        for name, measured in found.measured.items()
    }
    figure = folder.figure("confusion", plots.outcome_bars(by_network))
    folder.table("confusion", ("truth", *classes.names), _confusion_rows(found.ours))
    largest = largest_confusions(found.ours.confusion, classes, CONFUSIONS)
    body = [(c.truth, c.predicted, percent(c.share), f"{c.pixels:,}") for c in largest]
    yield html.section(
        "Confusion of seen and unseen classes",
        html.figure(figure, "Pixels that went wrong, by the kind of their true class."),
        html.table(("true class", "labelled as", "percent of its pixels", "pixels"), body),
        html.paragraph("The pairs of a seen and an unseen class that cost most.", note=True),
    )


def _confusion_rows(measured: StageMeasurements) -> Iterator[Row]:
    for name, counts in zip(measured.classes.names, measured.confusion.tolist(), strict=True):
        yield name, *counts


def _offsets(folder: Folder, found: StageFindings) -> Iterator[str]:
    curve = found.ours.curve
    figure = folder.figure("offsets", plots.offset_curves(curve, found.ours.offset))
    lines = [vars(point) for point in curve.points()]
    folder.table("offsets", list(lines[0]), [list(line.values()) for line in lines])
    caption = (
        "What is subtracted from the scores of seen classes before the best class is taken; from "
        "one pass over the pictures, for all offsets at once."
    )
    yield html.section("Seen-score offset", html.figure(figure, caption))


def _calibration(folder: Folder, found: StageFindings) -> Iterator[str]:
    groups = {
        name: group for name, group in found.ours.reliability.items() if group.pixels.sum() > 0
    }
    figure = folder.figure("reliability", plots.reliability_diagram(groups))
    rows = [
        (name, bin_, int(pixels), confidence, accuracy)
        for name, group in groups.items()
        for bin_, (pixels, confidence, accuracy) in enumerate(
            zip(
                group.pixels.tolist(),
                group.confidence.tolist(),
                group.accuracy.tolist(),
                strict=True,
            )
        )
    ]
    folder.table("reliability", ("predicted", "bin", "pixels", "confidence", "accuracy"), rows)
    caption = (
        "By the kind of class that was predicted. On the diagonal, of the pixels with a score of "
        "70 percent 70 percent are right. ECE: expected calibration error, in points."
    )
    yield html.section("Calibration", html.figure(figure, caption))
