"""CKA where it is known, and against a direct computation."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from cascade_clip.analysis.cka.compute import batch_hsic, block_cka, cka_from_hsic, deal
from cascade_clip.analysis.subjects import Subject
from cascade_clip.analysis.windows import network_input, window_batches
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.errors import UserError
from tests.naive.analysis import cka_in_one_piece, hsic_by_quadruples, hsic_by_trace


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cka(*parts: Tensor) -> Tensor:
    """CKA (L, L) of features from one batch."""
    return cka_from_hsic(batch_hsic(parts)[None])


@pytest.mark.parametrize("pictures", [4, 5, 17])
def test_all_pairs_agree_with_traces(pictures: int) -> None:
    parts = [features(pictures, width, seed=width) + 3 for width in (2, 9, 40)]
    hsic = batch_hsic(parts)
    expected = [[hsic_by_trace(a, b) for b in parts] for a in parts]
    torch.testing.assert_close(hsic, torch.tensor(expected, dtype=torch.float64))


def test_agrees_with_the_mean_over_quadruples() -> None:
    x, y = features(6, 3), features(6, 5, seed=1)
    assert batch_hsic([x, y])[0, 1].item() == pytest.approx(hsic_by_quadruples(x, y))


def test_is_unbiased() -> None:
    # An unbiased estimate from samples averages, over all samples, to that of the whole.
    x, y = features(8, 6), features(8, 6, seed=1) + features(8, 6)
    samples = [list(rows) for rows in combinations(range(8), 5)]
    mean = torch.stack([batch_hsic([x[rows], y[rows]]) for rows in samples]).mean(dim=0)
    torch.testing.assert_close(mean, batch_hsic([x, y]))


def test_rotation_scale_and_shift_do_not_matter() -> None:
    x = features(12, 7)
    rotation = torch.linalg.qr(features(7, 7, seed=1))[0]
    padded = torch.cat([x @ rotation, torch.zeros(12, 3, dtype=torch.float64)], dim=1)
    matrix = cka(x, x.clone(), x @ rotation, -0.01 * x, x + 5, 3 * padded - 2)
    torch.testing.assert_close(matrix, torch.ones(6, 6, dtype=torch.float64))


def test_stretching_one_direction_does_matter() -> None:
    x = features(40, 3)
    stretched = x * torch.tensor([100.0, 1.0, 1.0])
    assert 0 < cka(x, stretched)[0, 1] < 0.9


def test_independent_features_have_none() -> None:
    hsic = torch.stack(
        [batch_hsic([features(16, 500, seed=i), features(16, 500, seed=-1 - i)]) for i in range(60)]
    )
    assert abs(cka_from_hsic(hsic)[0, 1].item()) < 0.1
    # What centring alone would give: features of 16 pictures in 500 dimensions look alike.
    x, y = (features(16, 500, seed=s) for s in (0, -1))
    grams = [(part - part.mean(dim=0)) @ (part - part.mean(dim=0)).T for part in (x, y)]
    flat = [gram.flatten() for gram in grams]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.8


def test_the_ratio_is_taken_after_the_mean_over_batches() -> None:
    first, second = features(5, 4), features(6, 4, seed=1)
    other = features(5, 3, seed=2), features(6, 3, seed=3)
    result = cka_from_hsic(
        torch.stack([batch_hsic([first, other[0]]), batch_hsic([second, other[1]])])
    )
    sums = [
        hsic_by_trace(first if a == 0 else other[0], first if b == 0 else other[0])
        + hsic_by_trace(second if a == 0 else other[1], second if b == 0 else other[1])
        for a, b in ((0, 0), (0, 1), (1, 1))
    ]
    assert result[0, 1].item() == pytest.approx(sums[1] / (sums[0] * sums[2]) ** 0.5)


def test_constant_features_have_no_cka() -> None:
    matrix = cka(features(6, 3), torch.ones(6, 3, dtype=torch.float64))
    assert matrix.isnan().tolist() == [[False, True], [True, True]]


def test_float32_features_far_from_zero_keep_their_digits() -> None:
    x = features(8, 50)
    far = (x + 1000).float()
    assert cka(x, far)[0, 1].item() == pytest.approx(1, abs=1e-3)


def test_three_pictures_are_too_few() -> None:
    with pytest.raises(UserError, match="needs 4 pictures a batch, got 3"):
        batch_hsic([features(3, 5)])
    with pytest.raises(UserError, match="got 3 pictures in batches of 32"):
        deal(3, 32)
    with pytest.raises(UserError, match="got 30 pictures in batches of 2"):
        deal(30, 2)


@pytest.mark.parametrize(
    ("pictures", "batch", "sizes"),
    [(4, 32, [4]), (9, 4, [5, 4]), (9, 8, [5, 4]), (33, 32, [17, 16]), (7, 5, [7])],
)
def test_every_picture_is_in_one_batch(pictures: int, batch: int, sizes: list[int]) -> None:
    parts = deal(pictures, batch)
    assert [len(part) for part in parts] == sizes
    assert sorted(index for part in parts for index in part) == list(range(pictures))
    assert parts == deal(pictures, batch)


@pytest.mark.parametrize("kind", ["patches", "mean", "class-token"])
def test_blocks_of_networks_against_one_computation(
    subjects: list[Subject], scenes: PicturebookDataset, kind: str
) -> None:
    result = block_cka(subjects, scenes, (2, 11, 12), features=kind, batch_size=9)  # type: ignore[arg-type]
    (batch,) = window_batches(scenes, [range(9)], 32, 32)
    vectors = []
    for subject in subjects:
        with torch.no_grad():
            tokens = dict(subject.tokens(network_input(batch.images, subject), scenes.classes))
        for block in (2, 11, 12):
            patches = tokens[block][:, 1:]
            vectors.append(
                {
                    "patches": patches.reshape(9, -1),
                    "mean": patches.mean(dim=1),
                    "class-token": tokens[block][:, 0],
                }[kind].double()
            )
    expected = [[cka_in_one_piece(a, b) for b in vectors] for a in vectors]
    torch.testing.assert_close(
        result.matrix, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0
    )
    assert result.between(1, 1).shape == (3, 3)
    torch.testing.assert_close(result.between(0, 1), result.between(1, 0).T)


def test_summaries_and_their_interval(subjects: list[Subject], scenes: PicturebookDataset) -> None:
    done: list[int] = []
    two = block_cka(subjects[:1], scenes, (1, 6, 12), batch_size=4, advance=done.append)
    assert (len(two.hsic), sum(done)) == (2, 9)
    own = two.between(0, 0)
    assert two.last_with_others(0) == pytest.approx((own[2, 0] + own[2, 1]).item() / 2)
    assert two.neighbours(0) == pytest.approx((own[0, 1] + own[1, 2]).item() / 2)
    low, _ = two.interval(lambda found: found.last_with_others(0))
    assert low != low  # two batches are too few for a spread
    scenes = PicturebookDataset(scenes.settings, "test", 20)
    many = block_cka(subjects[:1], scenes, (1, 6, 12), batch_size=4)
    low, high = many.interval(lambda found: found.last_with_others(0), resamples=200)
    assert low < many.last_with_others(0) < high
