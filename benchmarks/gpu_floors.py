"""What a GPU has to do at least: `python -m benchmarks.gpu_floors`. Needs none.

Counts the operations of matrix products and attention, and the bytes that these must read and write
in bfloat16 even if everything between them is fused, for 32 pictures of 512 x 512 in inference and
16 in a training step; nothing is computed, tensors have shapes only. Over a card's published peaks
that gives two floors for the time; the higher one counts. Then compiles the network for this
machine's CPU and counts graphs, breaks and copies. Fills docs/performance.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.pages import fill
from benchmarks.performance.subjects import (
    CLASSES,
    SHAPES,
    TRAINED_CLASSES,
    build_network,
    random_pictures,
    random_text,
)
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from cascade_clip.model.network import SegmentationNetwork

CPU = torch.device("cpu")
PAGE = Path(__file__).parents[1] / "docs/performance.md"
SHAPE = SHAPES["ViT-B/16"]
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "attention")
"""Parts of the names of operators that read and write memory whatever is fused."""
COPIES = ("clone", "copy", "_to_copy", "contiguous")
BYTES = 2
"""Of a number in bfloat16."""


@dataclass(frozen=True)
class Card:
    """Published peaks: dense bfloat16 products, and memory."""

    name: str
    tflops: float
    terabytes: float


CARDS = (Card("H100 SXM", 989, 3.35), Card("H200", 989, 4.8))


class ProductBytes(TorchDispatchMode):
    """Counts what products and attention read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if any(part in name for part in PRODUCTS):
            tensors = [leaf for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor)]
            self.bytes += BYTES * sum(tensor.numel() for tensor in tensors)
        return out


def inference(network: SegmentationNetwork) -> None:
    text = random_text(SHAPE, CLASSES, CPU)
    with torch.no_grad():
        network.eval()(torch.empty(32, 3, 512, 512), text)


def training_step(network: SegmentationNetwork) -> None:
    text = random_text(SHAPE, TRAINED_CLASSES, CPU)
    mask_logits = network.train()(torch.empty(16, 3, 512, 512), text).mask_logits
    mask_logits.backward(torch.empty_like(mask_logits))


def count(run: Callable[[SegmentationNetwork], None]) -> tuple[float, float]:
    """Tera operations and gigabytes."""
    network = build_network(SHAPE, CPU)
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    with shapes, FlopCounterMode(display=False) as operations, ProductBytes() as moved:
        run(network)
    return operations.get_total_flops() / 1e12, moved.bytes / 1e9


def floors() -> str:
    heads = "".join(f" {card.name}: products, ms | memory, ms |" for card in CARDS)
    lines = [f"| | Tera operations | GB |{heads}", "|---|---:|---:|" + "---:|---:|" * len(CARDS)]
    for name, run in (("32 pictures", inference), ("a training step of 16", training_step)):
        operations, moved = count(run)
        cells = [f"{1e3 * operations / c.tflops:.1f} | {moved / c.terabytes:.1f}" for c in CARDS]
        lines.append(f"| {name} | {operations:.1f} | {moved:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compiled() -> str:
    """Graphs, breaks and copies of the compiled network, in inference and forward and backward."""
    shape = SHAPES["tiny"]
    text = random_text(shape, 5, CPU)
    pictures = random_pictures(2, (shape.crop, shape.crop), CPU)
    lines = ["| | graphs | breaks | operators | of them copies |", "|---|---:|---:|---:|---:|"]
    for name, training in (("inference", False), ("training, both ways", True)):
        torch.compiler.reset()
        watch = Watch()
        with torch.set_grad_enabled(training):
            network = watch.compile(build_network(shape, CPU).train(training))
            mask_logits = network(pictures, text).mask_logits
        if training:
            mask_logits.sum().backward()
        operators = sum(watch.operators.values())
        copies = sum(watch.operators[copy] for copy in COPIES)
        lines.append(
            f"| {name} | {watch.graphs} | {max(0, watch.graphs - 1)} | {operators} | {copies} |"
        )
    return "\n".join(lines)


class Watch:
    """Compiles, and counts the graphs and the operators in them, backward ones too."""

    def __init__(self) -> None:
        self.graphs = 0
        self.operators: Counter[str] = Counter()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, backend=self._backend)

    def _backend(self, graph: GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return aot_autograd(fw_compiler=self._count, bw_compiler=self._count)(graph, inputs)

    def _count(self, graph: GraphModule, inputs: list[Tensor]) -> Any:
        for node in graph.graph.nodes:
            if node.op == "call_function":
                packet = getattr(node.target, "overloadpacket", node.target)
                self.operators[packet.__name__] += 1
        return make_boxed_func(graph.forward)


def main() -> None:
    text = f"{floors()}\n\n{compiled()}"
    print(text)
    fill(PAGE, "gpu-floors", text)


if __name__ == "__main__":
    main()
