from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from scripts.pretraining.objective import embed_images, embed_texts, patch_terms
from scripts.pretraining.run import PretrainSettings, pretrain
from scripts.pretraining.scenes import COLOURED, Phase, SceneBatches, close_up
from scripts.pretraining.vocabulary import learn_merges, write_vocabulary

from cascade_clip.clip.load import VOCABULARY_FILE, load_clip_folder, load_tokenizer
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, draw_scene
from cascade_clip.picturebook.palette import NAMED

SHORT = PretrainSettings(
    phases=(Phase(steps=3, batch_size=4, window=16), Phase(steps=3, batch_size=4, window=32)),
    bank=8,
    image_size=32,
    width=32,
    depth=2,
    head_width=16,
    embed_dim=16,
    text_layers=1,
    workers=0,
)


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


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    phases = (Phase(3, 4, 16), Phase(2, 2, 32))
    straight, jumped = SceneBatches(phases, 32, 8, seed=1), SceneBatches(phases, 32, 8, seed=1)
    for step in range(4):
        straight[step]
    assert torch.equal(straight[4].image, jumped[4].image)
    assert straight[0].image.shape == (4, 3, 16, 16)
    assert straight[4].image.shape == (2, 3, 32, 32)
    assert not torch.equal(straight[0].image, SceneBatches(phases, 32, 8, seed=2)[0].image)


def test_words_tell_what_fills_the_window_and_nothing_else() -> None:
    scene = draw_scene(0, 3, 96)
    view = close_up(scene, 10, 20, 48)
    labels, counts = np.unique(scene.mask[10:58, 20:68], return_counts=True)
    shown = {CLASSES[label] for label, count in zip(labels, counts, strict=True) if count >= 47}
    assert {phrase for phrase in view.told if phrase in CLASSES} == shown
    assert all(phrase in CLASSES or phrase in COLOURED for phrase in view.told)


def test_patch_terms_by_hand() -> None:
    similarity = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])  # one image, two patches
    named = torch.tensor([[True, True, False]])
    shares = similarity.softmax(dim=-1)[0]
    candidates, presence = patch_terms(similarity, named)
    expected = -torch.log(shares[:, :2].sum(dim=1)).mean()
    assert torch.allclose(candidates, expected)
    assert torch.allclose(presence, -torch.log(torch.stack([shares[0, 0], shares[1, 1]])).mean())


def test_the_folder_is_an_ordinary_open_clip_model(tmp_path: Path) -> None:
    pretrain(tmp_path / "clip", SHORT)
    ours = load_clip_folder(tmp_path / "clip", "short")
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'clip'}").eval()
    image = torch.randn(2, 3, 32, 32)
    tokens = ours.tokenize(["a photo of a cat", "grass"])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs.encode_image(image), dim=-1)
        assert torch.allclose(embed_images(ours.visual, image).picture, expected, atol=1e-5)
        expected = torch.nn.functional.normalize(theirs.encode_text(tokens), dim=-1)
        assert torch.allclose(embed_texts(ours.model, tokens), expected, atol=1e-5)


def test_a_resumed_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(tmp_path / "straight", SHORT)
    stop_after(monkeypatch, step=4)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(tmp_path / "stopped", SHORT, checkpoint_every=2)
    monkeypatch.undo()
    pretrain(tmp_path / "stopped", SHORT, resume=True)
    straight, stopped = (
        load_clip_folder(tmp_path / run, run).fingerprint for run in ("straight", "stopped")
    )
    assert straight == stopped


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    draw = SceneBatches.__getitem__

    def interrupted(self: SceneBatches, index: int) -> object:
        if index == step:
            raise RuntimeError("power cut")
        return draw(self, index)

    monkeypatch.setattr(SceneBatches, "__getitem__", interrupted)


def test_a_finished_folder_is_not_overwritten(tmp_path: Path) -> None:
    pretrain(tmp_path, SHORT)
    with pytest.raises(UserError, match="already holds a CLIP"):
        pretrain(tmp_path, SHORT)
