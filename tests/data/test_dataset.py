"""The picture book as a data set, and the stream of training samples."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from cascade_clip.config import DataSettings, PicturebookSettings
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.drawn import SEED_OFFSET, PicturebookDataset
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.part import read_part
from cascade_clip.data.samples import Sample, collate
from cascade_clip.data.stream import REPLACEMENTS, TrainStream
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, UNSEEN, SceneSettings, draw_scene

SMALL = PicturebookSettings(size=32, eval_scenes=3)


def keep(sample: Sample) -> Sample:
    return sample


def test_a_scene_as_a_sample() -> None:
    dataset = PicturebookDataset(SMALL, "test", 3)
    assert (dataset.classes.names, dataset.classes.unseen) == (CLASSES, UNSEEN)
    sample = dataset[2]
    scenes = SceneSettings(
        things=SMALL.things,
        thing_size=SMALL.thing_size,
        stuff=SMALL.stuff,
        max_overlap=SMALL.max_overlap,
    )
    scene = draw_scene(20_000, 2, 32, scenes)
    assert sample.image.shape == (3, 32, 32)
    assert sample.image.dtype == torch.uint8
    assert torch.equal(sample.image.permute(1, 2, 0), torch.from_numpy(scene.image))
    assert torch.equal(sample.labels, torch.from_numpy(scene.mask).long())


def test_no_split_shows_scenes_of_another() -> None:
    seeds = sorted(SEED_OFFSET.values())
    assert len(set(seeds)) == 4
    assert min(b - a for a, b in pairwise(seeds)) >= 10_000  # seeds are below
    images = [PicturebookDataset(SMALL, part, 1)[0].image for part in SEED_OFFSET]
    assert not any(torch.equal(images[0], image) for image in images[1:])


def test_length_of_a_split() -> None:
    settings = DataSettings(name="picturebook", picturebook=SMALL)
    assert len(open_dataset(settings, "test")) == 3
    assert len(open_dataset(settings, "val", 2)) == 2


def test_split_names_are_checked() -> None:
    assert read_part("calibration") == "calibration"
    with pytest.raises(UserError, match="unknown part 'tset'; there are train, val"):
        read_part("tset")


def test_the_endless_stream_never_repeats_and_depends_on_the_seed() -> None:
    book = PicturebookDataset(SMALL, "train", 1)
    stream = TrainStream(book, keep, seed=0, endless=True)
    assert [stream[i].name for i in (0, 1, 500)] == ["train-000000", "train-000001", "train-000500"]
    other = TrainStream(book, keep, seed=1, endless=True)
    assert not torch.equal(stream[0].image, other[0].image)


def test_a_finite_data_set_is_shuffled_epoch_by_epoch() -> None:
    stream = TrainStream(PicturebookDataset(SMALL, "train", 4), keep, seed=0, endless=False)
    names = [stream[i].name for i in range(8)]
    assert sorted(names[:4]) == sorted(names[4:]) == [f"train-{i:06d}" for i in range(4)]


def test_augmentation_depends_on_seed_and_position_alone() -> None:
    def noise(sample: Sample) -> Sample:
        return Sample(torch.rand(1), sample.labels, sample.name)

    def draws(seed: int) -> list[float]:
        stream = TrainStream(PicturebookDataset(SMALL, "train", 4), noise, seed, endless=False)
        return [stream[i].image.item() for i in range(8)]

    torch.manual_seed(1)
    first = draws(0)
    torch.manual_seed(2)
    assert draws(0) == first
    assert len(set(first)) == 8  # the second epoch draws anew
    assert draws(1) != first


def test_collate() -> None:
    dataset = PicturebookDataset(SMALL, "test", 2)
    batch = collate([dataset[0], dataset[1]])
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.labels.shape == (2, 32, 32)


class Damaged:
    """A data set of numbered pictures of which some can't be read."""

    classes = ClassSet(("a", "b"))

    def __init__(self, length: int, unreadable: set[int]) -> None:
        self.length = length
        self.unreadable = unreadable

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if index in self.unreadable:
            raise UserError(f"picture {index} is damaged")
        image = torch.full((3, 2, 2), index, dtype=torch.uint8)
        return Sample(image, torch.zeros(2, 2, dtype=torch.int64), str(index))


def test_another_picture_takes_the_place_of_an_unreadable_one() -> None:
    whole = TrainStream(Damaged(10, set()), keep, seed=0, endless=False)
    stream = TrainStream(Damaged(10, {3, 7}), keep, seed=0, endless=False)
    replacements = []
    for position in range(40):
        sample, expected = stream[position], whole[position]
        if expected.name in ("3", "7"):
            assert sample.unreadable[0] == f"picture {expected.name} is damaged"
            assert sample.name not in ("3", "7")
            replacements.append(sample.name)
        else:
            assert (sample.name, sample.unreadable) == (expected.name, ())
    assert len(set(replacements)) > 2
    again = TrainStream(Damaged(10, {3, 7}), keep, seed=0, endless=False)
    assert [again[i].name for i in reversed(range(40))] == [stream[i].name for i in range(40)][::-1]
    other = TrainStream(Damaged(10, {3, 7}), keep, seed=1, endless=False)
    assert [other[i].name for i in range(40)] != [stream[i].name for i in range(40)]


def test_where_nothing_can_be_read_everything_is_ignored() -> None:
    stream = TrainStream(Damaged(5, set(range(5))), keep, seed=0, endless=False)
    sample = stream[0]
    assert len(sample.unreadable) == 1 + REPLACEMENTS
    assert (sample.labels == IGNORE).all()


def test_a_batch_tells_what_could_not_be_read() -> None:
    stream = TrainStream(Damaged(4, {2}), keep, seed=0, endless=False)
    messages = collate([stream[i] for i in range(4)]).unreadable
    assert set(messages) == {"picture 2 is damaged"}
