"""`fidelity: released`: each of its four rules against the released code's, and the switch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.model.build import build_network, build_settings, random_text
from tests.naive import released
from tests.naive.network import NaiveSizes, naive_forward
from tests.training.test_module import build as build_module
from torch import Tensor
from torchvision import tv_tensors

from cascade_clip.config import IMAGENET, RELEASED
from cascade_clip.config.recipes import dump_recipe, flatten, load_recipe
from cascade_clip.data.augment import RandomClassCrop, visible_classes
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import Sample
from cascade_clip.data.transforms import TrainTransform
from cascade_clip.errors import UserError
from cascade_clip.ops.images import resize_nearest
from cascade_clip.training.targets import transductive_targets

OPENCV = {
    (333, 360): [120, 240],
    (333, 1200): [400, 800],
    (375, 280): [168],
    (375, 696): [232, 464],
    (375, 1020): [68, 136, 272, 340, 544, 612, 680],
    (500, 388): [97, 194, 291],
    (500, 1052): [263, 526, 789],
    (480, 638): [],
}
"""Where pixels 0, 1, 2, ... of (old, new) sides, resized by `cv2.resize` with INTER_NEAREST (4.5.5,
4.12 and 5.0), are not floor(x * old / new); they are one less there."""

CLASSES = ClassSet(("cat", "dog", "grass", "sky"), ("dog", "sky"))


@pytest.mark.parametrize(("old", "new"), OPENCV)
def test_nearest_as_opencv_does_it(old: int, new: int) -> None:
    expected = np.arange(new) * old // new
    expected[OPENCV[old, new]] -= 1
    row = torch.arange(old)
    across = resize_nearest(row.expand(2, old), [2, new], "opencv")
    down = resize_nearest(row[:, None].expand(old, 2), [new, 2], "opencv")
    assert across[0].tolist() == down[:, 0].tolist() == expected.tolist()


@given(
    old=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    new=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_nearest_equals_its_naive_twin(old: tuple[int, int], new: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 256, old, dtype=np.uint8)
    found = resize_nearest(torch.from_numpy(labels), list(new), "opencv")
    assert np.array_equal(found.numpy(), released.resize_nearest(labels, new))


@given(values=st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 255]), min_size=1, max_size=16))
def test_crops_are_accepted_by_raw_labels(values: list[int]) -> None:
    labels = torch.tensor([values], dtype=torch.uint8)
    crop = RandomClassCrop(64, visible_classes("released", CLASSES, "inductive"))
    assert crop._accepts(labels) == released.accepts_crop(labels.numpy())


@pytest.mark.parametrize("height", [0.0, 12.0, 30.0])
def test_pseudo_labels_by_sigmoid_equal_their_naive_twin(height: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = height + 3 * torch.randn(2, 40, 4, 5, generator=generator)
    seen, unseen = torch.arange(0, 40, 2), torch.arange(39, 0, -2)  # in no ascending order
    labels = torch.randint(0, 40, (2, 150, 130), generator=generator)  # too large for one chunk
    labels[:, :9] = 255
    expected = released.pseudo_labels(labels, logits, unseen.tolist())
    found = transductive_targets(labels, logits, seen, unseen, by_sigmoid=True)
    assert torch.equal(found, expected)
    differ = (found != transductive_targets(labels, logits, seen, unseen)).float().mean()
    assert (differ > 0.1) == (height == 30)  # there, all sigmoids are 1


def test_float16_text_is_computed_with_in_float32() -> None:
    torch.manual_seed(0)
    settings = build_settings()
    network = build_network(settings.model_copy(update={"float16_text": True}))
    image, text = torch.randn(2, 3, 32, 32), random_text(5)
    sizes = NaiveSizes(3, (4, 4), quick_gelu=True)
    with torch.no_grad():
        found = network(image, text).mask_logits
        # Products of float32 with the stored float16 are float32.
        expected = naive_forward(network.state_dict(), settings, sizes, image, text.half())
        without = naive_forward(network.state_dict(), settings, sizes, image, text)
    torch.testing.assert_close(found, expected.mask_logits, atol=1e-5, rtol=1e-5)
    assert (found - without.mask_logits).abs().max() > 3e-5


def settings_of(*overrides: str) -> dict[str, object]:
    flat = flatten(dump_recipe(load_recipe("cascade-clip/voc20/transductive", overrides)))
    return {key: value for key, value in flat.items() if key in RELEASED}


def test_the_switch_sets_all_and_nothing_else(tmp_path: Path) -> None:
    own, switched = (
        flatten(dump_recipe(load_recipe("cascade-clip/voc20/transductive", overrides)))
        for overrides in ((), ("fidelity=released",))
    )
    assert {key: switched[key] for key in switched if switched[key] != own[key]} == {
        **RELEASED, "fidelity": "released",
    }  # fmt: skip
    assert own.keys() == switched.keys()
    written = tmp_path / "mine.yaml"
    written.write_text("base: cascade-clip/voc20/transductive\nfidelity: released\n")
    stored = load_recipe(written)
    written.write_text(yaml.safe_dump(dump_recipe(stored)))
    assert load_recipe(written) == stored
    assert stored.data.augment.nearest_rule == "opencv"


def test_each_is_a_setting_by_itself() -> None:
    for key, value in RELEASED.items():
        alone = settings_of(f"{key}={value}")
        assert alone == {**settings_of(), key: value} != settings_of()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augment.crop_rule=visible", "crop_rule released, but it is given as visible"),
        ("data.augment.crop_rule=off", "crop_rule released, but it is given as off"),
        ("model.float16_text=false", "float16_text True, but it is given as False"),
    ],
)
def test_other_values_contradict_it(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cascade-clip/voc20/transductive", ["fidelity=released", override])


def test_settings_of_a_stored_recipe_contradict_it(tmp_path: Path) -> None:
    written = tmp_path / "stored.yaml"
    written.write_text(yaml.safe_dump(dump_recipe(load_recipe("cascade-clip/voc20/transductive"))))
    with pytest.raises(UserError, match="but it is given as"):
        load_recipe(written, ["fidelity=released"])


def test_training_pictures_follow_it() -> None:
    size = [
        "inference.short_side=360",
        "inference.crop=360",
        "inference.stride=360",
        "data.augment.scale=[1,1]",
    ]
    labels = torch.arange(333).expand(333, 333).remainder(200).to(torch.uint8)
    expected = released.resize_nearest(labels.numpy(), (360, 360))
    found = {}
    for fidelity in ("own", "released"):
        recipe = load_recipe(
            "cascade-clip/voc20/inductive", [*size, "data.augment.flip=0", f"fidelity={fidelity}"]
        )
        transform = TrainTransform(recipe, CLASSES, IMAGENET.mean)
        image = tv_tensors.Image(labels.expand(3, 333, 333))
        found[fidelity] = transform(Sample(image, labels, "mask")).labels.numpy()
    assert np.array_equal(found["released"], expected)
    assert not np.array_equal(found["own"], expected)


def test_self_training_follows_it(
    tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = {}
    for fidelity in ("own", "released"):
        module = build_module([*tiny_overrides, f"fidelity={fidelity}"], "transductive")
        count = len(module.classes.names)
        logits = 30 + torch.arange(count, dtype=torch.float32).view(1, -1, 1, 1).expand(1, -1, 2, 2)

        def predict(image: Tensor, text: Tensor, logits: Tensor = logits) -> object:
            return type("Output", (), {"mask_logits": logits})

        monkeypatch.setattr(module.network, "forward", predict)
        labels = module.unseen[:1].view(1, 1, 1).expand(1, 4, 4)
        _, found = module.predict_for_loss(torch.zeros(1, 3, 32, 32), labels)
        targets[fidelity] = found.unique().tolist()
    assert targets == {"own": [int(module.unseen.max())], "released": [int(module.unseen.min())]}
