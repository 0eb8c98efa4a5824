"""Draws how each method works, from its recipe: `python -m scripts.method_pictures`.

Grey is frozen, orange trained, blue text. Blocks run from left to right; what a method reads of
them goes up to where it meets the names.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from cascade_clip.config import ModelSettings
from cascade_clip.config.recipes import load_recipe
from cascade_clip.config.training_free import GemSettings, LastBlockChoices, ScClipSettings

IMAGES = Path(__file__).parents[1] / "docs" / "images"
METHODS = (
    "zegclip", "cascade-clip", "fusion", "frozen", "spt", "otseg", "clip-rc", "rpn",
    "clip", "maskclip", "sclip", "clearclip", "naclip", "resclip", "gem", "sc-clip",
)  # fmt: skip
FROZEN, TRAINED, TEXT, INK = "#d5dae1", "#f2a65a", "#7fa8d9", "#24292f"
DEPTH = 12
OUT = DEPTH + 2.2
"""Where the masks come out."""
HEADS = {
    "cross-attention": "decoder:\nnames attend\nto patches",
    "spectral": "decoder:\nnames attend to\nmixed patches",
    "otseg": "decoder:\noptimal transport\nby Sinkhorn",
    "clip-rc": "decoder:\nnames and patches\nattend to each other",
    "rpn": "two linear layers,\nno decoder",
}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for method in METHODS:
        figure = draw(load_recipe(f"{method}/voc20").model)
        figure.savefig(IMAGES / f"method-{method}.png", dpi=110)


def draw(settings: ModelSettings) -> Figure:
    """A method as a picture."""
    figure = Figure(figsize=(6.8, 2.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(-1.3, OUT + 1.4), ylim=(-1.2, 4.4), aspect="equal")
    axes.axis("off")
    label(axes, -0.7, 0.4, "patches")
    if settings.training_free is not None:
        draw_training_free(axes, settings)
        return figure
    draw_encoder(axes, settings)
    draw_stages(axes, settings)
    return figure


def draw_encoder(axes: Axes, settings: ModelSettings) -> None:
    """Blocks with the tokens that are put between them."""
    encoder = settings.encoder
    for block in range(1, DEPTH + 1):
        box(axes, block - 0.5, 0.4, 0.74, 0.8, FROZEN, str(block))
    if encoder.prompted:
        last = 1 if encoder.tuning == "shallow-prompts" else DEPTH
        for block in range(1, last + 1):
            axes.plot([block - 0.6, block - 0.4], [-0.35, -0.35], "o", color=TRAINED, markersize=4)
        label(axes, DEPTH + 0.2, -0.35, "prompts", side="left")
    if encoder.tuning == "spectral-prompts":
        label(axes, 1.0, -0.9, "~ spectral prompt ~")
    if getattr(encoder, "regions", None):
        for block in range(1, DEPTH + 1):
            axes.plot([block - 0.6, block - 0.4], [-0.9, -0.9], "s", color=FROZEN, markersize=4)
        label(axes, DEPTH + 0.2, -0.9, "regions", side="left")
    if encoder.tuning == "relationship-prompts":
        for block in range(1, DEPTH):
            arrow(axes, (block - 0.5, -0.95), (block + 0.4, -0.1), TEXT)
        label(axes, DEPTH + 0.2, -0.95, "patches x names", side="left")


def draw_stages(axes: Axes, settings: ModelSettings) -> None:
    """What is read of the blocks, and where it meets the names."""
    head = settings.head
    stages = head.stages_read
    width = 2.6 if len(stages) > 1 else 4.4
    middles = [sum(stage) / len(stage) - 0.5 for stage in stages]
    for index in reversed(range(len(stages) - 1)):  # boxes side by side, none on another
        middles[index] = min(middles[index], middles[index + 1] - width - 0.3)
    for stage, middle in zip(stages, middles, strict=True):
        for block in stage:
            arrow(axes, (block - 0.5, 0.8), (middle, 1.6), INK)
        text = HEADS[head.kind] if len(stages) == 1 else "decoder"
        if len(stage) > 1:
            text = f"weighted sum,\n{text}"
        box(axes, middle, 2.3, width, 1.4, TRAINED, text)
        arrow(axes, (middle - width / 4, 3.9), (middle - width / 4, 3.0), TEXT)
        path = [(middle + width / 4, 3.0), (middle + width / 4, 3.4), (OUT, 3.4)]
        axes.plot(*zip(*path, strict=True), color=INK, linewidth=0.9)
    arrow(axes, (OUT, 3.4), (OUT, 2.6), INK)
    names = "names, K prompts each" if head.kind == "otseg" else "names (text embeddings)"
    label(axes, middles[-1] - width / 4, 4.15, names, color="#3b6ea5")
    box(axes, OUT, 2.3, 0.6, 0.6, "white", "+" if len(stages) > 1 else "")
    label(axes, OUT, 1.65, "masks")


def draw_training_free(axes: Axes, settings: ModelSettings) -> None:
    """Blocks, the last one otherwise than CLIP's, and cosines with the names."""
    method = settings.training_free
    for block in range(1, DEPTH):
        box(axes, block - 0.5, 0.4, 0.74, 0.8, FROZEN, str(block))
    box(axes, DEPTH + 0.75, 0.4, 3.2, 1.7, FROZEN, last_block(method))
    if isinstance(method, ScClipSettings):
        for block in method.fusion_blocks:
            axes.plot([block - 0.5] * 2, [0.8, 1.6], color=INK, linewidth=0.8)
        first, last = method.fusion_blocks[0] - 0.5, method.fusion_blocks[-1] - 0.5
        axes.plot([first, last + 1.0], [1.6, 1.6], color=INK, linewidth=0.8)
        arrow(axes, (last + 1.0, 1.6), (DEPTH - 0.85, 1.1), INK)
        label(axes, (first + last) / 2, 1.95, "sum of blocks 4 to 10")
    arrow(axes, (DEPTH + 0.75, 1.2), (DEPTH + 0.75, 2.0), INK)
    box(axes, DEPTH + 0.75, 2.35, 2.4, 0.7, "white", "cosine")
    arrow(axes, (DEPTH + 0.75, 3.5), (DEPTH + 0.75, 2.7), TEXT)
    label(axes, DEPTH + 0.75, 3.75, "names (text embeddings)", color="#3b6ea5")


def last_block(method: object) -> str:
    """What the last block does."""
    if isinstance(method, LastBlockChoices):
        terms = method.attention.replace("identity", "itself alone")
        lines = ["block 12", f"attention: {terms}"]
        if method.gaussian_sigma is not None:
            lines.append("+ neighbours")
        if method.kind == "resclip":
            lines.append("+ blocks 6 to 9")
        if not method.residual:
            lines.append("no skip, no FFN")
        return "\n".join(lines)
    if isinstance(method, GemSettings):
        return "2nd stream, blocks\n7 to 12: qq, kk, vv"
    return "block 12, no outliers\nattention: kk and\nblock 9's likeness"


def box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, text: str
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=colour,
            edgecolor=INK,
            linewidth=0.8,
        )
    )
    label(axes, x, y, text)


def label(
    axes: Axes, x: float, y: float, text: str, *, side: str = "center", color: str = INK
) -> None:
    axes.text(x, y, text, ha=side, va="center", fontsize=7, color=color, linespacing=1.15)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


if __name__ == "__main__":
    main()
