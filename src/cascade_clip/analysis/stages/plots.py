"""Plots of stages, offsets, calibration, confusion, and gains by class; masks of each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from cascade_clip.analysis.picture_grid import picture_grid
from cascade_clip.analysis.stages.calibration import BINS, Reliability
from cascade_clip.analysis.stages.compute import ClassGains, LevelWeights
from cascade_clip.analysis.stages.confusion import PixelOutcome
from cascade_clip.analysis.stages.offsets import OffsetCurve
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.io.overlay import paint_labels
from cascade_clip.io.palette import IGNORED, SEEN_COLOUR, UNSEEN_COLOUR, class_colours, to_hex
from cascade_clip.report import plots

H_COLOUR, PALE = plots.INK, "#c9d2dc"
GROUP_COLOURS = {
    "all classes": H_COLOUR,
    "seen classes": SEEN_COLOUR,
    "unseen classes": UNSEEN_COLOUR,
}


def versions(metrics: Mapping[str, Metrics], spread: Mapping[str, Tensor]) -> Figure:
    """S, U and hIoU of every version of the network, with 95 % intervals (2, 3)."""
    names = list(metrics)
    figure, (axes,) = plots.panels(1, (8.2, 1.2 + 0.42 * len(names)))
    places = np.arange(len(names))[::-1]
    kinds = (
        ("S, seen", SEEN_COLOUR, "o", 0.2),
        ("U, unseen", UNSEEN_COLOUR, "D", -0.2),
        ("hIoU", H_COLOUR, "s", 0.0),
    )
    for measure, (_, colour, marker, shift) in enumerate(kinds):
        for place, name in zip(places, names, strict=True):
            m = metrics[name]
            value = 100 * (m.miou_seen, m.miou_unseen, m.hiou)[measure]
            low, high = 100 * spread[name][:, measure].numpy()
            height = place + shift
            axes.plot([low, high], [height, height], color=colour, lw=1.4, alpha=0.7)
            axes.plot([value], [height], marker, color=colour, ms=5)
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("mIoU, percent; lines: 95 % interval over pictures")
    axes.grid(axis="x", color=plots.GRID)
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=5, ls="none", label=label)
        for label, colour, marker, _ in kinds
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def offset_curves(curve: OffsetCurve, own: float) -> Figure:
    """S, U and hIoU over the seen-score offset, and how many pixels change sides there."""
    points, best = curve.points(), curve.best()
    offsets = [point.offset for point in points]
    figure, (left, right) = plots.panels(2, (10.4, 3.7))
    lines = (
        (left, "mIoU seen", SEEN_COLOUR, "-", [p.miou_seen for p in points]),
        (left, "mIoU unseen", UNSEEN_COLOUR, "--", [p.miou_unseen for p in points]),
        (left, f"hIoU, best {100 * best.hiou:.1f} at {best.offset:g}", H_COLOUR, "-",
         [p.hiou for p in points]),
        (right, "unseen pixels labelled seen", UNSEEN_COLOUR, "--",
         [p.unseen_taken for p in points]),
        (right, "seen pixels labelled unseen", SEEN_COLOUR, "-", [p.seen_taken for p in points]),
    )  # fmt: skip
    for axes, label, colour, dashes, values in lines:
        axes.plot(offsets, 100 * np.array(values), dashes, color=colour, lw=1.9, label=label)
    for axes in (left, right):
        axes.axvline(own, color=plots.SOFT, lw=1, ls=":")
        axes.set_xlabel("seen-score offset")
        axes.grid(color=plots.GRID)
        axes.margins(x=0.02)
    left.plot([best.offset], [100 * best.hiou], "o", color=H_COLOUR, ms=6)
    left.annotate(
        f"the model's own, {own:g}", (own, 0), (5, 5), xycoords=("data", "axes fraction"),
        textcoords="offset points", fontsize=8.5, color=plots.SOFT,
    )  # fmt: skip
    left.set_title("percent", fontsize=10.5, color=plots.INK, loc="left")
    right.set_title("share of pixels, percent", fontsize=10.5, color=plots.INK, loc="left")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        # A white ground, since the dotted line may lie behind.
        axes.legend(fontsize=9, framealpha=0.9, edgecolor="none")
    return figure


def reliability_diagram(groups: Mapping[str, Reliability]) -> Figure:
    """Share of right pixels over the score of the predicted class, and how many pixels have which
    score; on the diagonal scores mean what they say."""
    figure, (left, right) = plots.panels(2, (10.4, 3.9))
    left.plot([0, 100], [0, 100], color=plots.SOFT, lw=1, ls=":")
    edges = np.linspace(0, 100, BINS + 1)
    for (name, found), marker in zip(groups.items(), cycle(plots.MARKERS)):
        colour = GROUP_COLOURS[name]
        share = (found.pixels / found.pixels.sum()).numpy()
        shown = share > 1e-4  # bins of a handful of pixels say nothing
        left.plot(
            100 * found.confidence.numpy()[shown], 100 * found.accuracy.numpy()[shown],
            color=colour, lw=1.6, marker=marker, ms=4.5,
            label=f"{name}: ECE {100 * found.error:.1f}",
        )  # fmt: skip
        right.stairs(100 * share, edges, color=colour, lw=1.6)
    left.set_title("right pixels, percent", fontsize=10.5, color=plots.INK, loc="left")
    right.set_title("share of pixels, percent", fontsize=10.5, color=plots.INK, loc="left")
    for axes in (left, right):
        axes.set_xlabel("score of the predicted class, percent")
        axes.set_xlim(0, 100)
        axes.grid(color=plots.GRID)
    left.set_ylim(0, 102)
    left.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def gain_bars(found: ClassGains, classes: ClassSet, ours: str, theirs: str) -> Figure:
    """IoU of the first network minus that of the second by class, with 95 % intervals; seen and
    unseen classes apart, the largest gain first."""
    gains, spread = 100 * found.gains.numpy(), 100 * found.intervals.numpy()
    known = [i for i in range(len(gains)) if not np.isnan(gains[i])]
    order = sorted(known, key=lambda i: (found.names[i] in classes.unseen, -gains[i]))
    figure, (axes,) = plots.panels(1, (8.4, 1.0 + 0.24 * len(order)))
    places = np.arange(len(order))[::-1]
    colours = [UNSEEN_COLOUR if found.names[i] in classes.unseen else SEEN_COLOUR for i in order]
    axes.barh(places, gains[order], height=0.66, color=colours, zorder=2)
    axes.hlines(places, spread[0, order], spread[1, order], color=plots.INK, lw=1.1, zorder=3)
    axes.axvline(0, color=plots.INK, lw=1)
    axes.set_yticks(places, [found.names[i] for i in order])
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlabel(f"IoU of {ours} minus {theirs}, points; lines: 95 % interval over pictures")
    axes.grid(axis="x", color=plots.GRID, zorder=0)
    handles = [
        Patch(color=SEEN_COLOUR, label="seen class"),
        Patch(color=UNSEEN_COLOUR, label="unseen class"),
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def weight_bars(stages: Sequence[LevelWeights]) -> Figure:
    """Weights of the blocks of each stage: where training started (pale), what it learned."""
    figure, axes = plots.panels(len(stages), (0.9 + 2.9 * len(stages), 3.0), share_y=True)
    for panel, stage in zip(axes, stages, strict=True):
        places = np.arange(len(stage.blocks))
        bars = ((stage.start, -0.2, PALE), (stage.learned, 0.2, plots.LINE_COLOURS[0]))
        for values, shift, colour in bars:
            panel.bar(places + shift, values, width=0.38, color=colour)
            for place, value in zip(places, values, strict=True):
                panel.annotate(
                    f"{value:.2f}", (place + shift, value), (0, 2 if value >= 0 else -2),
                    textcoords="offset points", ha="center", fontsize=8.5, color=plots.INK,
                    va="bottom" if value >= 0 else "top",
                )  # fmt: skip
        panel.set_xticks(places, [str(block) for block in stage.blocks])
        panel.set_xlabel("block")
        panel.set_title(stage.stage, fontsize=10.5, color=plots.INK, loc="left")
        panel.margins(y=0.12)
        panel.axhline(0, color=plots.GRID, lw=1)
    handles = [
        Patch(color=PALE, label="start"),
        Patch(color=plots.LINE_COLOURS[0], label="learned"),
    ]
    axes[0].legend(handles=handles, frameon=False, fontsize=9, loc="upper left")
    return figure


def outcome_bars(rows: Mapping[str, Mapping[str, PixelOutcome]]) -> Figure:
    """Pixels that went wrong, by network and by the kind of their true class: taken by another
    class of that kind, or by one of the other kind."""
    entries = [
        (f"{name}: {kind} pixels ({100 * outcome.right:.1f} % right)", kind, outcome)
        for name, by_kind in rows.items()
        for kind, outcome in by_kind.items()
    ]
    figure, (axes,) = plots.panels(1, (9.2, 1.2 + 0.42 * len(entries)))
    places = np.arange(len(entries))[::-1]
    taker = {"seen": UNSEEN_COLOUR, "unseen": SEEN_COLOUR}
    for place, (_, kind, outcome) in zip(places, entries, strict=True):
        left = 0.0
        for value, colour in ((outcome.own_kind, PALE), (outcome.other_kind, taker[kind])):
            axes.barh(place, 100 * value, left=100 * left, height=0.62, color=colour)
            axes.text(
                100 * (left + value / 2), place, f"{100 * value:.1f}", ha="center", va="center",
                fontsize=8.5, color=plots.INK,
            )  # fmt: skip
            left += value
    axes.set_yticks(places, [label for label, _, _ in entries])
    axes.set_xlabel("share of pixels, percent")
    axes.margins(x=0.02)
    handles = [
        Patch(color=PALE, label="another class of its kind"),
        Patch(color=SEEN_COLOUR, label="a seen class"),
        Patch(color=UNSEEN_COLOUR, label="an unseen class"),
    ]
    axes.legend(
        handles=handles, title="taken by", alignment="left", loc="lower left",
        bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize=9, title_fontsize=9,
    )  # fmt: skip
    return figure


def stage_pictures(examples: Sequence[Example], classes: ClassSet) -> Figure:
    """One row for each picture: picture, truth, then the labels that each version of the network
    gives, in class colours; below them the classes that occur, unseen ones in italics."""
    colours = class_colours(classes.names)
    names = list(examples[0].predictions)
    figure, grid = picture_grid(len(examples), 2 + len(names), cell=1.25)
    present: set[int] = set()
    for row, example in zip(grid, examples, strict=True):
        row[0].imshow(example.image)
        row[1].imshow(paint_labels(example.truth, colours, other=IGNORED))
        for panel, name in zip(row[2:], names, strict=True):
            panel.imshow(paint_labels(example.predictions[name], colours))
        for labels in (example.truth, *example.predictions.values()):
            present.update(np.unique(labels).tolist())
    for panel, title in zip(grid[0], ["picture", "truth", *names], strict=True):
        lines = title.replace("without ", "without\n").replace(" alone", "\nalone")
        panel.set_title(lines, fontsize=9, color=plots.INK)
    shown = sorted(label for label in present if label < len(classes.names))
    handles = [Patch(color=to_hex(colours[label]), label=classes.names[label]) for label in shown]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=8, frameon=False, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_fontstyle("italic" if text.get_text() in classes.unseen else "normal")
    return figure
