from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from scripts.pretraining.bank import PHRASES, Bank, BankSettings, draw_picture, open_bank
from scripts.pretraining.batches import Phase, PictureBatches
from scripts.pretraining.muon import orthogonal
from scripts.pretraining.objective import contrastive_loss, embed_pictures, embed_texts
from scripts.pretraining.run import PretrainSettings, pretrain
from scripts.pretraining.vocabulary import learn_merges, write_vocabulary

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import VOCABULARY_FILE, load_clip_folder, load_tokenizer
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, STUFF, THINGS, draw_scene, phrases
from cascade_clip.picturebook.palette import NAMED

SHORT = PretrainSettings(
    phases=(
        Phase(steps=3, batch_size=4, side=16, singles=0.5),
        Phase(steps=3, batch_size=4, side=32, singles=0.0),
    ),
    scenes=8,
    singles=4,
    image_size=32,
    width=32,
    depth=2,
    head_width=16,
    embed_dim=16,
    text_layers=1,
    workers=0,
)


VISION: dict[str, Any] = {
    "layers": 2,
    "width": 32,
    "head_width": 16,
    "patch_size": 8,
    "image_size": 32,
}
TEXT: dict[str, Any] = {"context_length": 8, "vocab_size": 9, "width": 32, "heads": 2, "layers": 1}


def test_every_word_of_the_picture_book_is_one_token(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / VOCABULARY_FILE, CLASSES, NAMED)
    tokenize = load_tokenizer(tmp_path, 40)
    lengths = (tokenize([f"a photo of a {name}" for name in CLASSES]) != 0).sum(dim=1)
    assert lengths.tolist() == [7] * len(CLASSES)  # five words between start and end


def test_vocabulary_files_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_vocabulary(tmp_path / name, CLASSES, NAMED)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_merges_start_with_the_most_frequent_pair() -> None:
    assert learn_merges(["ab ab", "ac"])[0] == ("a", "b</w>")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return open_bank(tmp_path_factory.mktemp("bank"), BankSettings(8, 4, 32, seed=0), workers=1)


def batches(bank: Bank, seed: int) -> PictureBatches:
    phases = (Phase(3, 4, 16, singles=0.5), Phase(2, 2, 32, singles=0.0))
    return PictureBatches(phases, bank, scenes=8, smallest=0.5, seed=seed)


def test_a_batch_depends_on_seed_and_step_alone(bank: Bank) -> None:
    straight, jumped = batches(bank, seed=1), batches(bank, seed=1)
    for step in range(4):
        straight[step]
    assert torch.equal(straight[4].image, jumped[4].image)
    assert straight[0].image.shape == (4, 3, 16, 16)
    assert straight[4].image.shape == (2, 3, 32, 32)
    assert not torch.equal(straight[0].image, batches(bank, seed=2)[0].image)


def test_scenes_are_told_of_as_their_captions_do(bank: Bank) -> None:
    for index in range(8):
        scene = draw_scene(0, index, 32)
        assert np.array_equal(bank.pictures[index], scene.image)
        assert said(bank.told[index]) == set(phrases(scene))


def test_single_pictures_tell_of_one_thing_and_one_kind_of_stuff(bank: Bank) -> None:
    for told in bank.told[8:]:
        names = said(told) & set(CLASSES)
        assert len(names & set(THINGS)) == len(names & set(STUFF)) == 1
        (coloured,) = said(told) - names
        assert coloured.split()[1] in names


def said(told: np.ndarray) -> set[str]:
    return {PHRASES[index] for index in np.flatnonzero(told)}


def test_a_crop_keeps_the_words_of_its_picture(bank: Bank) -> None:
    whole = PictureBatches((Phase(1, 8, 32, singles=0.3),), bank, scenes=8, smallest=0.5, seed=0)
    rows = {tuple(row) for row in bank.told.tolist()}
    assert all(tuple(row) in rows for row in whole[0].told.tolist())


def test_a_bank_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = BankSettings(2, 1, 16, seed=3)
    first = open_bank(tmp_path, settings, workers=1)
    monkeypatch.delattr("scripts.pretraining.bank.draw_picture")
    assert np.array_equal(open_bank(tmp_path, settings, workers=1).pictures, first.pictures)


def test_pictures_of_a_bank_do_not_depend_on_the_order_of_drawing(bank: Bank) -> None:
    index, image, told = draw_picture(BankSettings(8, 4, 32, seed=0), 9)
    assert index == 9
    assert np.array_equal(bank.pictures[9], image)
    assert np.array_equal(bank.told[9], told)


def test_the_loss_is_clips_own_where_every_picture_has_one_text() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.3], [1.5, 0.2, 0.1]])
    right = torch.arange(3)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    assert torch.allclose(contrastive_loss(logits, torch.eye(3, dtype=torch.bool)), expected)


def test_texts_of_a_picture_share_its_loss_and_untold_ones_have_none() -> None:
    logits, told = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[True, True, False]])
    of_picture = -logits.log_softmax(dim=1)[0, :2].mean()
    assert torch.allclose(contrastive_loss(logits, told), of_picture / 2)


def test_texts_meet_no_patch_of_the_last_block() -> None:
    visual = build_clip(16, VISION, TEXT).visual
    seen: list[torch.Size] = []
    last = visual.transformer.resblocks[-1]
    last.mlp.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape))
    tokens = embed_pictures(visual, torch.randn(2, 3, 32, 32))
    assert seen == [(2, 1, 32)]
    tokens.sum().backward()
    queries = last.attn.in_proj_bias.grad[:32]
    assert queries.abs().sum() > 0  # those of the class token alone


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run that nothing stopped."""
    folder = tmp_path_factory.mktemp("clip")
    pretrain(folder, SHORT)
    return folder


def test_the_folder_is_an_ordinary_open_clip_model(straight: Path) -> None:
    ours = load_clip_folder(straight, "short")
    theirs = open_clip.create_model(f"local-dir:{straight}").eval()
    image = torch.randn(2, 3, 32, 32)
    tokens = ours.tokenize(["a photo of a cat", "grass"])
    with torch.no_grad():
        expected = F.normalize(theirs.encode_image(image), dim=-1)
        assert torch.allclose(embed_pictures(ours.visual, image), expected, atol=1e-5)
        expected = F.normalize(theirs.encode_text(tokens), dim=-1)
        assert torch.allclose(embed_texts(ours.model, tokens), expected, atol=1e-5)


def test_a_resumed_run_ends_with_the_same_weights(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, step=4)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(tmp_path, SHORT, checkpoint_every=2)
    monkeypatch.undo()
    pretrain(tmp_path, SHORT, resume=True)
    fingerprints = {load_clip_folder(run, "short").fingerprint for run in (straight, tmp_path)}
    assert len(fingerprints) == 1


def test_a_finished_folder_is_not_overwritten(straight: Path) -> None:
    with pytest.raises(UserError, match="already holds a CLIP"):
        pretrain(straight, SHORT)


def test_a_short_run_learns(tmp_path: Path) -> None:
    pretrain(tmp_path, replace(SHORT, phases=(Phase(60, 8, 32, singles=0.5),)))
    rows = csv.DictReader((tmp_path / "training" / "metrics.csv").read_text().splitlines())
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses[-1] < 0.8 * losses[0]


def test_matrices_become_orthogonal_in_their_own_directions() -> None:
    matrices = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.mT @ orthogonal(matrices) @ v.mT  # near the unit matrix
    sizes = inside.diagonal(dim1=1, dim2=2)
    assert sizes.min() > 0.6 and sizes.max() < 1.3
    assert (inside - torch.diag_embed(sizes)).abs().max() < 1e-4


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    draw = PictureBatches.__getitem__

    def interrupted(self: PictureBatches, index: int) -> object:
        if index == step:
            raise RuntimeError("power cut")
        return draw(self, index)

    monkeypatch.setattr(PictureBatches, "__getitem__", interrupted)
