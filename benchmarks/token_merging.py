"""Whether the network gets faster when patches that are alike are merged, and what that changes.

    python -m benchmarks.token_merging [--pictures 100] [--rounds 5] [--page docs/performance.md]

Merged are `pairs`, as in ToMe (Bolya et al., ICLR 2023: bipartite soft matching, attention in
proportion to sizes), but by tokens instead of keys, or `squares` of 2 x 2 patches, the local step
of ALGM (Norouzi et al., CVPR 2024). All merging ends before the first level that the head reads;
everything after it, the head included, works on merged patches. That gives exactly what copying
each merged patch to its members before the head would give.

Agreement is that of the embedded model's labels with the plain network's, on drawn test scenes;
speed that of the network alone, in float32 on one thread, there and for a ViT-B/16 with random
weights on 512 x 512 pixels. All ways run in turns, ratios of processor time within a round.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from benchmarks.pages import fill
from benchmarks.performance import subjects
from benchmarks.performance.hardware import environment
from benchmarks.performance.timing import compare, in_turns
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cascade_clip import Segmenter
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.inference.predictor import WINDOW_BATCH
from cascade_clip.model.network import SegmentationNetwork

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Merging:
    """After each block in `after` (1-based), `share` of the picture's patches go into others."""

    kind: str  # "pairs" or "squares"
    after: tuple[int, ...]
    share: float


WAYS = (
    Merging("squares", (2,), 0.375),
    Merging("pairs", (2,), 0.375),
    Merging("pairs", (1, 3), 0.25),
    Merging("pairs", (2, 4), 0.22),
    Merging("pairs", (2, 3, 4, 5), 0.125),
)


@dataclass(frozen=True)
class Masks:
    mask_logits: Tensor
    """(B, C, h, w)."""


class MergedNetwork(nn.Module):
    """Cascade-CLIP's network with deep prompts, and patches merged: a `MaskNetwork`."""

    def __init__(self, network: SegmentationNetwork, merging: Merging) -> None:
        super().__init__()
        self.network, self.merging = network, merging
        self.patch_size = network.patch_size

    def forward(self, image: Tensor, text: Tensor) -> Masks:
        encoder: Any = self.network.encoder
        tokens, grid = encoder.embed(image)  # (B, 1 + N, D)
        size = tokens.new_ones(tokens.shape[:2])
        place = torch.arange(tokens.shape[1]).expand(size.shape)  # (B, 1 + N)
        levels: list[Tensor] = []
        blocks = zip_longest(encoder.blocks(image.device), encoder.prompts(len(image)))
        for number, (block, prompts) in enumerate(blocks, start=1):
            merged = tokens.shape[1] < place.shape[1]
            bias = F.pad(size.log(), (0, prompts.shape[1]))[:, None, None] if merged else None
            tokens = block(tokens, prompts, bias)
            if number in self.merging.after:
                count = round(self.merging.share * grid[0] * grid[1])
                target = targets(self.merging.kind, tokens, grid, count)
                tokens, size, group = merge(tokens, size, target)
                place = group.gather(1, place)
            if number in encoder.inner_blocks:
                normed = encoder.prompt_norm(tokens[:, 1:])
                levels.append(encoder.project_level(len(levels), normed))  # (B, R, d)
        last = encoder.project(tokens)  # (B, 1 + R, d)
        masks = self.decode([*levels, last[:, 1:]], last[:, 0], text, size[:, 1:])  # (B, C, R)
        copied = (place[:, None, 1:] - 1).expand(-1, masks.shape[1], -1)
        return Masks(masks.gather(2, copied).unflatten(2, grid))

    def decode(self, levels: list[Tensor], image: Tensor, text: Tensor, size: Tensor) -> Tensor:
        """Levels (B, R, d) of patches that stand for `size` (B, R), and unit embeddings of images
        (B, d) and names (C, d), to mask logits (B, C, R)."""
        head: Any = self.network.head
        level_of = dict(zip(self.network.encoder.level_blocks, levels, strict=True))
        parts = (head.stages, head.aggregations, head.query_projections, head.decoders)
        masks = []
        for blocks, aggregate, project, decoder in zip(*parts, strict=True):
            patches, queries = aggregate([level_of[b] for b in blocks]), project(text, image)
            for layer in decoder.layers:
                attended = F.scaled_dot_product_attention(
                    by_head(layer.query(queries), layer.heads),
                    by_head(layer.key(patches), layer.heads),
                    by_head(layer.value(patches), layer.heads),
                    attn_mask=size.log()[:, None, None],
                )  # (B, heads, C, d / heads)
                queries = layer.update(queries, attended.transpose(1, 2).flatten(2))
            masks.append(decoder.scores(queries, patches))
        return torch.stack(masks).sum(dim=0)


def by_head(tokens: Tensor, heads: int) -> Tensor:
    """(B, M, d) to (B, heads, M, d / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def targets(kind: str, tokens: Tensor, grid: tuple[int, int], count: int) -> Tensor:
    """Which of tokens (B, 1 + N, D), class token first, each goes to: (B, 1 + N), most to
    themselves. `count` go to others."""
    unit = F.normalize(tokens, dim=-1)
    target = torch.arange(tokens.shape[1]).repeat(len(tokens), 1)
    if kind == "pairs":
        best, nearest = (unit[:, 1::2] @ unit[:, 2::2].mT).max(dim=2)
        chosen = best.topk(min(count, best.shape[1])).indices  # (B, count)
        return target.scatter(1, 1 + 2 * chosen, 2 + 2 * nearest.gather(1, chosen))
    height, width = grid[0] // 2, grid[1] // 2
    index = target[0, 1:].view(grid)[: 2 * height, : 2 * width]
    squares = index.unflatten(1, (width, 2)).unflatten(0, (height, 2)).transpose(1, 2)
    squares = squares.flatten(2).flatten(0, 1)  # (h / 2 * w / 2, 4)
    members = unit[:, squares]  # (B, squares, 4, D)
    alike = (members @ members.mT).amin(dim=(2, 3))
    chosen = squares[alike.topk(round(count / 3)).indices]  # (B, count / 3, 4)
    return target.scatter(1, chosen.flatten(1), chosen[..., :1].expand_as(chosen).flatten(1))


def merge(tokens: Tensor, size: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (B, R, D) of tokens (B, M, D) with the same target (B, M), weighted by `size` (B, M);
    their sizes (B, R); and where each token went (B, M)."""
    kept = target == torch.arange(target.shape[1])
    group = (kept.cumsum(dim=1) - 1).gather(1, target)  # (B, M)
    groups = int(kept[0].sum())
    sizes = size.new_zeros(len(size), groups).scatter_add(1, group, size)
    where = group[..., None].expand_as(tokens)
    total = tokens.new_zeros(len(tokens), groups, tokens.shape[2])
    total = total.scatter_add(1, where, tokens * size[..., None])
    return total / sizes[..., None], sizes, group


@torch.inference_mode()
def speed(plain: SegmentationNetwork, image: Tensor, text: Tensor, rounds: int) -> list[list[str]]:
    """For each way, how many times fewer operations, and how many times faster."""
    networks = {"plain": plain, **{str(way): MergedNetwork(plain, way).eval() for way in WAYS}}
    operations = {}
    for name, network in networks.items():
        with FlopCounterMode(display=False) as counter:
            network(image, text)
        operations[name] = counter.get_total_flops()
    runs = {name: partial(network, image, text) for name, network in networks.items()}
    rows = compare(in_turns(runs, rounds, CPU), "plain")
    return [
        [f"{operations['plain'] / operations[str(way)]:.2f}", f"{rows[str(way)]['ratio']:.2f}"]
        for way in WAYS
    ]


def agreement(segmenter: Segmenter, pictures: int) -> list[list[str]]:
    """For each way, the share of pixels with the plain network's class, and points of mIoU more."""
    data = open_dataset(segmenter.recipe.data, "test", pictures)
    samples = [data[index] for index in range(pictures)]
    images = [sample.image.permute(1, 2, 0).numpy() for sample in samples]
    truth = torch.stack([sample.labels for sample in samples])
    query, predictor, plain = segmenter.query(), segmenter.predictor, segmenter.network
    assert isinstance(plain, SegmentationNetwork)
    labels, miou = [], []
    for network in (plain, *(MergedNetwork(plain, way).eval() for way in WAYS)):
        predictor.network = network
        found = predictor.labels_of_each(images, query)
        labels.append(torch.stack([torch.from_numpy(own) for own, _ in found]))
        metrics = SegmentationMetrics([str(index) for index in range(len(query.embeddings))], ())
        metrics.update(labels[-1], truth)
        miou.append(100 * metrics.compute().miou)
    return [
        [f"{(own == labels[0]).double().mean():.1%}", f"{value - miou[0]:+.2f}"]
        for own, value in zip(labels[1:], miou[1:], strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.from_pretrained()
    embedded: Any = segmenter.network
    side = segmenter.recipe.inference.crop
    windows = subjects.random_pictures(WINDOW_BATCH, (side, side), CPU)
    small = speed(embedded, windows, segmenter.query().embeddings, options.rounds)
    same = agreement(segmenter, options.pictures)
    shape = subjects.at_resolution(subjects.SHAPES["ViT-B/16"], 512)
    picture = subjects.random_pictures(1, (512, 512), CPU)
    names = subjects.random_text(shape, 20, CPU)
    large = speed(subjects.build_network(shape, CPU), picture, names, options.rounds)
    columns = ("merged", "after blocks", "share each time", "same class", "mIoU",
               "fewer operations", "faster", "ViT-B/16: fewer operations", "faster")  # fmt: skip
    rows = [columns, ("---",) * len(columns)]
    for way, *cells in zip(WAYS, same, small, large, strict=True):
        after = ", ".join(map(str, way.after))
        rows.append((way.kind, after, f"{way.share:.1%}", *chain.from_iterable(cells)))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    machine = environment(CPU)
    place = f"{machine['processor']} with {', '.join(machine['instructions'])}, one thread"
    measured = f"{place}; {options.pictures} scenes, {options.rounds} rounds."
    fill(options.page, "token-merging", f"{table}\n\n{measured}")


if __name__ == "__main__":
    main()
