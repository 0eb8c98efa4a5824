"""Evaluation over a data set: every picture once, at its own size, ignored pixels left out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor, nn

from cascade_clip.class_names import classes_named
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config import IMAGENET, ClipSettings, Normalisation, Recipe
from cascade_clip.config.recipes import load_recipe, with_inference
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import WIDE_IGNORE
from cascade_clip.data.samples import Batch, Sample
from cascade_clip.errors import UserError
from cascade_clip.evaluation.evaluate import DatasetBatches, evaluate, predict
from cascade_clip.evaluation.findings import Accuracies
from cascade_clip.evaluation.methods import Method, make_examples
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.evaluation.results import write_metrics
from cascade_clip.inference.predictor import Predictor
from cascade_clip.inference.query import build_query
from cascade_clip.io.palette import IGNORED
from cascade_clip.model.protocol import Output
from cascade_clip.report.plots import error_map
from cascade_clip.support.parallel import usable_cores

HALF = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
COLOURS = torch.eye(3)


class Colours(nn.Module):
    """Labels a patch by the strongest of red, green and blue; stands in for a network."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size = (8, 8)

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Output:
        assert not self.training
        patches = nn.functional.avg_pool2d(image, 8)  # (B, 3, h, w)
        logits = torch.einsum("bdhw,cd->bchw", patches, text_embeddings)
        return Output(logits, (logits,), None)  # type: ignore[arg-type]


class Flags:
    """Pictures of two sizes, each in one colour; the label is the colour, but for some pixels."""

    classes = ClassSet(("red", "green", "blue"), ("blue",))
    sizes = ((32, 32), (32, 32), (32, 32), (40, 64), (32, 32))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Sample:
        colour = index % 3
        image = torch.zeros(3, *self.sizes[index], dtype=torch.uint8)
        image[colour] = 255
        labels = torch.full(self.sizes[index], colour)
        labels[0, 0], labels[0, 1] = 255, 254
        return Sample(image, labels, f"flag-{index}")


@pytest.fixture
def recipe(tiny_overrides: list[str]) -> Recipe:
    return load_recipe("cascade-clip/picturebook/inductive", tiny_overrides)


def with_offset(recipe: Recipe, offset: float) -> Recipe:
    inference = recipe.inference.model_copy(update={"seen_score_offset": offset})
    return recipe.model_copy(update={"inference": inference})


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_perfect_network_scores_one(recipe: Recipe, batch_size: int) -> None:
    done: list[int] = []
    network = Colours().train()
    metrics = evaluate(
        network, Flags(), COLOURS, recipe, HALF, batch_size=batch_size, advance=done.append
    )
    assert metrics.pixel_accuracy == metrics.miou == metrics.hiou == 1.0
    assert metrics.iou_per_class == {"red": 1.0, "green": 1.0, "blue": 1.0}
    assert sum(done) == 5
    assert network.training  # left as it was


def test_wrong_predictions_count_by_pixel(recipe: Recipe) -> None:
    # Red and green change places: only the blue picture (index 2, 32 x 32) is right.
    metrics = evaluate(Colours(), Flags(), COLOURS[[1, 0, 2]], recipe, HALF)
    pixels = [h * w - 2 for h, w in Flags.sizes]
    assert metrics.pixel_accuracy == pytest.approx(pixels[2] / sum(pixels))
    assert metrics.iou_per_class == {"red": 0.0, "green": 0.0, "blue": 1.0}
    assert (metrics.miou_seen, metrics.miou_unseen) == (0.0, 1.0)


class Many(Flags):
    """As `Flags` with 300 classes; the colours are 254, 255 and 299, one pixel is ignored."""

    classes = ClassSet(tuple(f"class {number}" for number in range(300)))
    colours = (254, 255, 299)

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        labels = torch.full(self.sizes[index], self.colours[index % 3], dtype=torch.int32)
        labels[0, 0] = WIDE_IGNORE
        return Sample(sample.image, labels, sample.name)


def test_more_classes_than_a_byte_holds(recipe: Recipe) -> None:
    text = torch.zeros(300, 3)
    text[list(Many.colours)] = COLOURS
    watch = Accuracies(ignored=WIDE_IGNORE)
    metrics = evaluate(Colours(), Many(), text, recipe, HALF, watch=watch)
    assert metrics.pixel_accuracy == metrics.miou == 1.0
    counted = {name for name, iou in metrics.iou_per_class.items() if iou == 1.0}
    assert counted == {"class 254", "class 255", "class 299"}
    assert watch.values == [1.0] * 5
    methods = {"it": Method(Colours().eval(), recipe, HALF)}
    example = make_examples([Many()[1]], methods, text, Many.classes)[0]
    assert example.accuracy("it") == 1.0
    errors = np.asarray(error_map(example.predictions["it"], example.truth, example.ignored))
    assert (errors == IGNORED).all(-1).sum() == 1


def test_batches_hold_neighbours_of_one_size_in_order() -> None:
    batches = list(DatasetBatches(Flags(), batch_size=2))
    assert [tuple(batch.images.shape) for batch in batches] == [
        (2, 3, 32, 32),
        (1, 3, 32, 32),
        (1, 3, 40, 64),
        (1, 3, 32, 32),
    ]


class Torn(Flags):
    """As `Flags`, but two pictures can't be read."""

    def __getitem__(self, index: int) -> Sample:
        if index in (0, 4):
            raise UserError(f"picture {index} is torn")
        return super().__getitem__(index)


def test_worker_processes_give_the_same_batches() -> None:
    def batches(workers: int) -> list[Batch]:
        dataset = DatasetBatches(Torn(), 2, workers=workers, skip_unreadable=True)
        return list(dataset)

    alone, together = batches(0), batches(2)
    assert [batch.unreadable for batch in alone] == [batch.unreadable for batch in together]
    assert [len(batch.images) for batch in alone] == [len(batch.images) for batch in together]
    for ours, theirs in zip(alone, together, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_no_more_processes_read_than_there_are_cores(recwarn: pytest.WarningsRecorder) -> None:
    list(DatasetBatches(Torn(), 2, workers=usable_cores() + 1, skip_unreadable=True))
    assert not recwarn.list


def test_the_error_of_a_worker_is_told_as_it_is(recipe: Recipe) -> None:
    with pytest.raises(UserError, match=r"^picture 0 is torn$"):
        evaluate(Colours(), Torn(), COLOURS, recipe, HALF, workers=1)


def test_reading_draws_no_random_number_of_the_process() -> None:
    state = torch.get_rng_state()
    list(DatasetBatches(Flags(), 2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_the_pictures_without_double_or_loss(world: int) -> None:
    shares = [DatasetBatches(Flags(), 8, rank, world).indices for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(5))


def test_the_offset_lowers_seen_classes(recipe: Recipe) -> None:
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    classes = Flags.classes
    network = Colours().eval()
    assert predict(network, grey, COLOURS, classes, recipe, HALF).unique().tolist() == [0]
    lowered = with_offset(recipe, 0.1)
    assert predict(network, grey, COLOURS, classes, lowered, HALF).unique().tolist() == [2]


@pytest.mark.parametrize("changes", [{"long_side": 24}, {"min_area": 0.3}], ids=str)
def test_predictions_are_those_of_a_segmenter(recipe: Recipe, changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (40, 56, 3), dtype=torch.uint8)
    picture[:20, :, 0] = 255
    classes, network, cpu = Flags.classes, Colours().eval(), torch.device("cpu")
    query = build_query(
        lambda names, templates: COLOURS,
        classes_named(classes.names),
        trained=classes.seen,
        trained_templates=["{}"],
        inference=recipe.inference,
        device=cpu,
    )
    changed = with_inference(recipe, changes)
    expected = Predictor(network, changed.inference, HALF, cpu).labels([picture.numpy()], query)[0]
    plain, found = (
        predict(network, picture.permute(2, 0, 1)[None], COLOURS, classes, each, HALF).numpy()
        for each in (recipe, changed)
    )
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, plain)


@pytest.fixture
def clip(tiny_clip_folder: Path) -> FrozenClip:
    return load_clip(ClipSettings(model=f"local-dir:{tiny_clip_folder}"))


def test_raw_clip_agrees_with_clip_itself(clip: FrozenClip, tiny_clip_folder: Path) -> None:
    image = torch.randn(2, 3, 32, 32)
    text = nn.functional.normalize(torch.randn(4, 32), dim=-1)
    visual: Any = open_clip.create_model(f"local-dir:{tiny_clip_folder}").eval().visual
    visual.output_tokens = True
    with torch.no_grad():
        pooled, tokens = visual(image)
        output = RawClip(clip.visual)(image, text)
        patches = nn.functional.normalize(tokens @ visual.proj, dim=-1)  # (B, N, d)
    expected = (patches @ text.T).transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(output.mask_logits, expected)
    embedding = nn.functional.normalize(pooled, dim=-1)
    torch.testing.assert_close(output.levels.global_embedding, embedding)


def test_raw_clip_uses_its_own_normalisation_and_no_offset(
    recipe: Recipe, clip: FrozenClip
) -> None:
    data = recipe.data.model_copy(update={"normalise": "imagenet"})
    other = with_offset(recipe, 0.3).model_copy(update={"data": data})
    own = raw_clip_recipe(other)
    assert other.data.normalisation(clip.normalisation) == IMAGENET
    assert own.data.normalisation(clip.normalisation) == clip.normalisation != IMAGENET
    assert own.inference == with_offset(recipe, 0.0).inference


def test_results_as_json(recipe: Recipe, tmp_path: Path) -> None:
    no_unseen = ClassSet(Flags.classes.names)
    metrics = evaluate(Colours(), Flags(), COLOURS, recipe, HALF, classes=no_unseen)
    assert math.isnan(metrics.miou_unseen)
    path = write_metrics(
        tmp_path / "new" / "metrics.json",
        {"x": metrics},
        with_offset(recipe, 0.25),
        "test",
        no_unseen,
    )
    content = json.loads(path.read_text())
    assert content["metrics"]["x"]["miou_unseen"] is None
    assert content["metrics"]["x"]["iou_per_class"]["red"] == metrics.iou_per_class["red"]
    assert content["part"] == "test"
    assert (content["seen"], content["unseen"]) == (["red", "green", "blue"], [])
    assert content["inference"]["seen_score_offset"] == 0.25
