from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cascade_clip.errors import UserError
from cascade_clip.inference.scores import WindowLogits
from cascade_clip.inference.sliding import sliding_best, sliding_labels, sliding_scores
from cascade_clip.inference.windows import windows
from tests.naive import sliding as naive

PATCH = 4


class Patchwise(nn.Module):
    """Mask logits that depend on the picture: patches against text embeddings (C, 3 * 4 * 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size = (PATCH, PATCH)
        self.batches: list[int] = []

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Any:
        assert image.shape[2] % PATCH == image.shape[3] % PATCH == 0
        self.batches.append(len(image))
        weight = text_embeddings.view(-1, 3, PATCH, PATCH)
        return SimpleNamespace(mask_logits=F.conv2d(image, weight, stride=PATCH))


def draw(batch: int, size: tuple[int, int], classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, 3, *size, generator=generator)
    return image, 0.3 * torch.randn(classes, 3 * PATCH * PATCH, generator=generator)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    crop=st.integers(9, 24),
    overlap=st.integers(0, 5),
    output=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    logit_size=st.none() | st.tuples(st.integers(1, 24), st.integers(1, 24)),
    shifts=st.integers(1, 3),
    window_batch=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_naive_twin(
    batch: int,
    size: tuple[int, int],
    crop: int,
    overlap: int,
    output: tuple[int, int],
    logit_size: tuple[int, int] | None,
    shifts: int,
    window_batch: int,
    seed: int,
) -> None:
    image, text = draw(batch, size, 6, seed)
    network = Patchwise()
    shared: dict[str, Any] = {
        "crop": crop,
        "stride": crop - overlap,
        "output_size": output,
        "offsets": torch.tensor([-0.1, -0.1, 0.0, 0.2, -0.1, 0.0]),
        "logit_size": logit_size,
        "shifts": shifts,
    }
    expected = naive.sliding_scores(
        lambda window: network(window, text).mask_logits, image, patch=PATCH, **shared
    )
    scores = sliding_scores(network, image, text, window_batch=window_batch, **shared)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    labels, best = sliding_best(network, image, text, window_batch=window_batch, **shared)
    top = expected.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 1e-5
    assert torch.equal(labels[clear], expected.argmax(1)[clear])
    torch.testing.assert_close(best, top[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("maps", [1, 2, 5])
def test_chunks_of_classes_do_not_change_the_labels(
    maps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, text = draw(1, (30, 21), 5, seed=1)
    options: dict[str, Any] = {"crop": 12, "stride": 8, "output_size": (25, 33)}
    scores = sliding_scores(Patchwise(), image, text, **options)
    chunk = "cascade_clip.inference.scores.maps_per_chunk"
    monkeypatch.setattr(chunk, lambda pixels, device: maps)
    assert torch.equal(sliding_labels(Patchwise(), image, text, **options), scores.argmax(1))
    # One map and several go through different matrix kernels, which round differently.
    chunked = sliding_scores(Patchwise(), image, text, **options)
    torch.testing.assert_close(chunked, scores, atol=1e-6, rtol=0)


def test_windows_are_aligned_to_the_borders() -> None:
    place = windows((83, 130), crop=64, stride=48)
    assert place.size == (64, 64)
    assert place.origins == ((0, 0), (0, 48), (0, 66), (19, 0), (19, 48), (19, 66))
    assert windows((512, 512), 512, 426).origins == ((0, 0),)
    assert windows((512, 513), 512, 426).origins == ((0, 0), (0, 1))


def test_a_picture_smaller_than_the_crop_is_one_window() -> None:
    place = windows((30, 100), crop=64, stride=48)
    assert place.size == (30, 64)
    assert place.origins == ((0, 0), (0, 36))


def test_shifted_windows_lie_parts_of_a_patch_apart_where_there_is_room() -> None:
    place = windows((68, 132), crop=64, stride=48, shifts=2, patch=(8, 16))
    assert {top for top, _ in place.origins} == {0, 4}
    assert {left for _, left in place.origins} == {0, 8, 48, 56, 68}
    assert windows((64, 40), crop=64, stride=48, shifts=3, patch=(8, 8)).origins == ((0, 0),)


@pytest.mark.parametrize(("crop", "stride"), [(8, 9), (8, 0), (0, 0)])
def test_windows_that_leave_gaps_are_refused(crop: int, stride: int) -> None:
    with pytest.raises(ValueError, match="stride must lie in"):
        windows((20, 20), crop, stride)


def test_offsets_are_added_class_by_class() -> None:
    image, text = draw(1, (16, 16), 3, seed=2)
    options: dict[str, Any] = {"crop": 16, "stride": 16, "output_size": (16, 16)}
    plain = sliding_scores(Patchwise(), image, text, **options)
    offsets = torch.tensor([0.5, 0.0, -0.25])
    moved = sliding_scores(Patchwise(), image, text, offsets=offsets, **options)
    difference = (moved - plain).mean((0, 2, 3))
    torch.testing.assert_close(difference, offsets)


def test_windows_go_through_the_network_in_batches() -> None:
    image, text = draw(2, (16, 32), 3, seed=3)
    network = Patchwise()
    sliding_labels(network, image, text, crop=16, stride=4, output_size=(16, 32), window_batch=4)
    assert network.batches == [4, 4, 2]  # 5 windows of 2 pictures, 2 windows at a time


def test_half_precision_logits_are_scored_in_float32() -> None:
    image, text = draw(1, (16, 16), 3, seed=4)
    scores = sliding_scores(
        Patchwise().bfloat16(),
        image.bfloat16(),
        text.bfloat16(),
        crop=16,
        stride=16,
        output_size=(20, 20),
    )
    assert scores.dtype == torch.float32


MEMORY_PROBE = """
import resource, sys, torch
from types import SimpleNamespace
from cascade_clip.inference.sliding import sliding_labels

torch.set_num_threads(1)
image = torch.zeros(1, 3, 512, 384)

def network(image, text):
    grid = torch.rand(len(image), len(text), image.shape[2] // 16, image.shape[3] // 16)
    return SimpleNamespace(mask_logits=grid)

network.patch_size = (16, 16)
options = dict(crop=256, stride=128, output_size=(512, 384))
peaks = []
for classes in (10, 1000):
    sliding_labels(network, image, torch.zeros(classes, 8), **options)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
unit = 1 if sys.platform == "darwin" else 1024
print((peaks[1] - peaks[0]) * unit)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_memory_does_not_grow_with_full_size_maps_of_all_classes() -> None:
    probe = subprocess.run(
        [sys.executable, "-c", MEMORY_PROBE], capture_output=True, text=True, check=True
    )
    one_copy_of_all_scores = 1000 * 512 * 384 * 4
    assert int(probe.stdout) < one_copy_of_all_scores / 10


def test_the_way_of_gpus_gives_the_labels_of_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image, text = draw(2, (30, 22), classes=9, seed=5)
    arguments: dict[str, Any] = {"crop": 16, "stride": 12, "output_size": (41, 37)}
    arguments["offsets"] = torch.linspace(-0.2, 0.2, 9)
    tiles = sliding_best(Patchwise(), image, text, **arguments)
    monkeypatch.setattr(WindowLogits, "best", WindowLogits.best_by_classes)
    classes = sliding_best(Patchwise(), image, text, **arguments)
    assert (tiles[0] == classes[0]).all()
    torch.testing.assert_close(tiles[1], classes[1])


@pytest.mark.parametrize(
    ("image", "text", "output"),
    [
        ((3, 16, 16), (2, 4), (8, 8)),
        ((0, 3, 16, 16), (2, 4), (8, 8)),
        ((1, 3, 16, 16), (0, 4), (8, 8)),
        ((1, 3, 16, 16), (2, 4), (0, 8)),
    ],
)
def test_wrong_shapes_are_user_errors(
    image: tuple[int, ...], text: tuple[int, ...], output: tuple[int, int]
) -> None:
    with pytest.raises(UserError, match="must be"):
        sliding_labels(
            Patchwise(), torch.zeros(image), torch.zeros(text), crop=16, stride=16,
            output_size=output,
        )  # fmt: skip
