"""Objects, seed patches, and the maps of a network's blocks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.analysis.localization.compute import localize, map_examples
from cascade_clip.analysis.localization.report import summarise
from cascade_clip.analysis.localization.seeds import choose_seeds, find_objects
from cascade_clip.analysis.localization.similarity import score_maps
from cascade_clip.analysis.output import between, points
from cascade_clip.analysis.subjects import Subject
from cascade_clip.analysis.windows import central_window, network_input, window_batches
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.samples import Sample
from cascade_clip.errors import UserError


def labels_of(*rectangles: tuple[int, int, int, int, int], fill: int = 0) -> Tensor:
    """(64, 64) labels with rectangles (label, top, left, height, width)."""
    labels = torch.full((64, 64), fill)
    for label, top, left, height, width in rectangles:
        labels[top : top + height, left : left + width] = label
    return labels


def test_objects_are_classes_of_a_fair_size() -> None:
    labels = torch.stack(
        [
            labels_of((3, 0, 0, 32, 32), (5, 40, 40, 16, 16), (6, 63, 60, 1, 4)),
            labels_of((2, 0, 0, 60, 62), fill=255),
            labels_of((1, 0, 0, 20, 20), (254, 0, 20, 64, 44)),
        ]
    )
    objects = find_objects(labels)
    found = list(zip(objects.picture.tolist(), objects.label.tolist(), strict=True))
    # 6 is too small; in the second picture 2 is all there is; in the third 0 and 1 share the rest.
    assert found == [(0, 0), (0, 3), (0, 5), (2, 0), (2, 1)]
    assert objects.masks[1].sum() == 32 * 32
    assert objects.counted[4].sum() == 64 * 20


def test_labels_of_bytes_work_too() -> None:
    assert len(find_objects(labels_of((3, 0, 0, 32, 32))[None].to(torch.uint8))) == 2


@pytest.mark.parametrize(
    ("rectangles", "seed"),
    [
        ([(1, 16, 16, 24, 24)], (3, 3)),  # 3 x 3 patches: the middle one
        ([(1, 0, 0, 8, 64)], (0, 3)),  # one row of patches at the border: nearest to the middle
        ([(1, 0, 0, 24, 24), (1, 40, 40, 24, 24), (1, 24, 24, 8, 8)], (1, 1)),  # equals: the first
        ([(1, 20, 20, 4, 4), (1, 32, 40, 6, 6)], (4, 5)),  # no patch is filled: filled the most
    ],
)
def test_the_seed_lies_deepest_inside(
    rectangles: list[tuple[int, int, int, int, int]], seed: tuple[int, int]
) -> None:
    mask = labels_of(*rectangles)[None] == 1
    assert divmod(choose_seeds(mask, 8).item(), 8) == seed


def test_a_ring_has_its_seed_on_itself() -> None:
    ring = labels_of((1, 0, 0, 64, 64), (0, 16, 16, 32, 32))[None] == 1
    row, column = divmod(int(choose_seeds(ring, 8).item()), 8)
    assert ring[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].all()


def test_maps_of_one_block_by_hand(subjects: list[Subject], scenes: PicturebookDataset) -> None:
    found = localize(subjects, scenes, (3, 7, 12))
    (batch,) = window_batches(scenes, [range(9)], 32, 32)
    objects = find_objects(batch.labels)
    assert len(found.labels) == len(objects) > 10
    torch.testing.assert_close(found.pictures, objects.picture)
    model = subjects[0]
    place = 4
    picture, label, mask = (
        int(objects.picture[place]), int(objects.label[place]), objects.masks[place]
    )  # fmt: skip
    with torch.no_grad():
        levels = model.encoder(network_input(batch.images, model))
        tokens = dict(model.tokens(network_input(batch.images, model), scenes.classes))
    seed = int(choose_seeds(mask[None], 8))
    text = model.text(scenes.classes)[label]
    projected = levels.features[levels.blocks.index(7)][picture]
    patches = F.normalize(tokens[7][picture, 1:], dim=-1)
    expected = {
        "seed patch": patches @ patches[seed],
        "seed patch, projected": projected @ projected[seed],
        "class name": projected @ text,
    }
    curves = {curve.query: curve for curve in found.curves if curve.subject == model.name}
    assert set(curves) == set(expected)
    for query, similarity in expected.items():
        by_hand = score_maps(
            similarity.view(1, 4, 4), mask[None], objects.counted[place : place + 1]
        )
        row = curves[query].blocks.index(7)
        torch.testing.assert_close(
            curves[query].scores[row, place].float(), torch.cat(by_hand).float(),
            atol=1e-3, rtol=0,
        )  # fmt: skip


def test_which_blocks_have_projections(subjects: list[Subject], scenes: PicturebookDataset) -> None:
    found = localize(subjects, scenes, (3, 7, 12))
    blocks = {(curve.subject, curve.query): curve.blocks for curve in found.curves}
    assert blocks[subjects[0].name, "seed patch"] == (3, 7, 12)
    assert blocks[subjects[0].name, "class name"] == (7, 12)
    assert blocks["raw CLIP", "class name"] == (12,)


def test_spread_and_differences(subjects: list[Subject], scenes: PicturebookDataset) -> None:
    found = localize(subjects[:1], scenes, (3, 12))
    curve = found.curves[0]
    low, high = curve.intervals(found.pictures)
    assert bool(((low < curve.means()) & (curve.means() < high)).all())
    gap, spread = curve.difference(3, 12, found.pictures)
    torch.testing.assert_close(gap, curve.means()[0] - curve.means()[1])
    assert bool((spread[0] <= gap).all() and (gap <= spread[1]).all())
    same, none = curve.difference(12, 12, found.pictures)
    assert not bool(same.any() or none.any())
    what, value, interval = summarise(found).figures[0]
    assert what == "seed patch, average precision: block 3 minus block 12"
    assert value == points(gap[0].item())
    assert interval == between(*spread[:, 0].tolist())


def test_pictures_without_objects_are_an_error(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    class Unlabelled:
        classes = scenes.classes

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Sample:
            return Sample(scenes[index].image, torch.full((32, 32), 255), "x")

    with pytest.raises(UserError, match="no picture holds a class"):
        localize(subjects, Unlabelled(), (12,))


def test_examples_show_another_class_each_time(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    samples = [scenes[index] for index in range(4)]
    examples = map_examples(subjects, samples, scenes.classes, (1, 12))
    assert len({example.name for example in examples}) == 4
    for example in examples:
        x, y = example.seed
        assert set(example.maps) == {subject.name for subject in subjects}
        similarity = example.maps["raw CLIP"][12]
        assert similarity.shape == (4, 4)
        assert similarity[int(y) // 8, int(x) // 8].item() == pytest.approx(1, abs=1e-5)


def test_a_window_is_the_middle_of_the_scaled_picture() -> None:
    image = torch.arange(40 * 80).view(1, 40, 80).expand(3, -1, -1).to(torch.uint8)
    labels = torch.arange(40 * 80).view(40, 80)
    window = central_window(Sample(image, labels, "x"), short_side=40, side=32)
    torch.testing.assert_close(window.labels, labels[4:36, 24:56])
    torch.testing.assert_close(window.image, image[:, 4:36, 24:56])
    assert central_window(Sample(image, labels, "x"), 20, 16).image.shape == (3, 16, 16)
