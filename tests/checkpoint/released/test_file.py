"""Files of released checkpoints, in every form in which mmcv and mmengine leave them."""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.convert import to_folder
from cascade_clip.checkpoint.released.load import ReleasedModel, convert_released, load_released
from cascade_clip.errors import UserError

DATA = Path(__file__).parents[2] / "golden" / "data"
NAMES = tuple(f"class {index}" for index in range(7))
SAID = Overrides(vision_heads=2, decoder_heads=4, class_names=NAMES, unseen_names=NAMES[3:4])
"""What a file without `meta` leaves open."""


def checkpoint(case: str) -> dict[str, Any]:
    return torch.load(DATA / f"{case}_small.pth", weights_only=True)


def assert_same_weights(found: ReleasedModel) -> None:
    expected = load_released(DATA / "zeg_small.pth")
    for part in ("network_state", "text_state"):
        theirs, ours = getattr(expected, part), getattr(found, part)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


class Evil:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pth", tmp_path / "executed"
    with pytest.raises(UserError, match="no checkpoint at"):
        load_released(path)
    torch.save({"state_dict": {}, "meta": Evil(mark)}, path)
    with pytest.raises(UserError, match=r"holds code, which is never run: \S+"):
        load_released(path)
    path.write_bytes(pickle.dumps(Evil(mark), protocol=2))
    with pytest.raises(UserError):
        load_released(path)
    assert not mark.exists()
    whole = (DATA / "zeg_small.pth").read_bytes()
    for part in (b"", b"hello", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(part)
        with pytest.raises(UserError):
            load_released(path)
    for content in ([1, 2], {"state_dict": {"a": 1}}, {"state_dict": {3: torch.ones(1)}}):
        torch.save(content, path)
        with pytest.raises(UserError, match="not a released checkpoint"):
            load_released(path)


def test_what_mmcv_leaves_beside_the_weights(tmp_path: Path) -> None:
    content = checkpoint("zeg")
    content["state_dict"] = OrderedDict(content["state_dict"])
    content["meta"]["PALETTE"] = np.zeros((7, 3), dtype=np.uint8)
    content["meta"]["hook_msgs"] = {"best_score": np.float64(0.5)}
    path = tmp_path / "model.pth"
    torch.save(content, path)
    assert load_released(path).classes.names == NAMES
    del content["meta"]
    torch.save(content, path)
    named = Overrides(vision_heads=2, decoder_heads=4, class_names=NAMES, unseen_names=NAMES[3:4])
    assert load_released(path, named).classes.unseen == (3,)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("bare", [False, True])
def test_state_dicts_alone_and_of_models_for_several_gpus(
    tmp_path: Path, bare: bool, prefix: str
) -> None:
    state = OrderedDict((prefix + n, v) for n, v in checkpoint("zeg")["state_dict"].items())
    torch.save(state if bare else {"state_dict": state}, tmp_path / "model.pth")
    assert_same_weights(load_released(tmp_path / "model.pth", SAID))


def test_a_prefix_on_some_names_alone_is_refused() -> None:
    state = checkpoint("zeg")["state_dict"]
    state["module.backbone.proj"] = state.pop("backbone.proj")
    with pytest.raises(UserError, match=r"unknown weights.*: module\.backbone\.proj$"):
        convert_released(state, checkpoint("zeg")["meta"], Overrides())


def test_averages_that_mmcv_keeps_beside_the_weights_are_left_out() -> None:
    content = checkpoint("zeg")
    state: dict[str, Tensor] = content["state_dict"]
    averages = {f"ema_{name.replace('.', '_')}": torch.zeros_like(v) for name, v in state.items()}
    found = convert_released({**state, **averages}, content["meta"], Overrides())
    assert_same_weights(found)
    assert averages.keys() < set(found.dropped)
    state["ema_backbone_other"] = torch.ones(1)
    with pytest.raises(UserError, match=r"unknown weights.*: ema_backbone_other$"):
        convert_released(state, content["meta"], Overrides())


def mmengine_settings() -> dict[str, Any]:
    return {
        "data_preprocessor": {"mean": [127.5, 51, 0], "std": [51, 51, 51], "bgr_to_rgb": True},
        "model": {
            "backbone": {"heads": 2},
            "decode_head": {"num_heads": 4, "seen_idx": [0, 1, 2, 4, 6], "all_idx": list(range(7))},
            "test_cfg": {"mode": "slide", "crop_size": (64, 64), "stride": (40, 40)},
        },
    }


@pytest.mark.parametrize("as_text", [True, False])
def test_what_mmengine_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_text: bool
) -> None:
    curve = type("HistoryBuffer", (), {"__module__": "mmengine.logging.history_buffer"})
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mmengine.logging.history_buffer"].HistoryBuffer = curve  # type: ignore[attr-defined]
    losses = curve()
    losses._log_history = np.array([0.5, 0.25])
    state, settings = checkpoint("zeg")["state_dict"], mmengine_settings()
    text = "".join(f"{key} = {value!r}\n" for key, value in settings.items())
    content = {
        "state_dict": state,
        "ema_state_dict": {"steps": torch.tensor(3), "module.backbone.proj": torch.zeros(1)},
        "meta": {"cfg": text if as_text else settings, "dataset_meta": {"classes": NAMES}},
        "message_hub": {"log_scalars": OrderedDict(loss=losses)},
    }
    torch.save(content, tmp_path / "model.pth")
    monkeypatch.undo()
    found = load_released(tmp_path / "model.pth")
    assert_same_weights(found)
    assert found.classes.names == NAMES and found.classes.unseen == (3, 5)
    assert found.preprocessing.stride == 40
    assert found.preprocessing.mean == (0.5, 0.2, 0.0)


def test_model_folders_hold_imagenets_normalisation_or_clips(tmp_path: Path) -> None:
    def convert(mean: list[float], std: list[float]) -> str:
        settings = mmengine_settings()
        settings["data_preprocessor"] |= {"mean": mean, "std": std}
        meta = {"cfg": settings, "dataset_meta": {"classes": NAMES}}
        torch.save({"state_dict": checkpoint("zeg")["state_dict"], "meta": meta}, file)
        return to_folder(file, tmp_path / str(mean[0]))[1].data.normalise

    file = tmp_path / "model.pth"
    assert convert([122.771, 116.746, 104.094], [68.5, 66.632, 70.323]) == "clip"
    assert convert([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]) == "imagenet"
    with pytest.raises(UserError, match="neither ImageNet's nor CLIP's"):
        convert([127.5, 51, 0], [51, 51, 51])
    assert not (tmp_path / "127.5").exists()


def test_colours_that_mmengine_left_in_the_order_of_opencv() -> None:
    content, settings = checkpoint("zeg"), mmengine_settings()
    del settings["data_preprocessor"]["bgr_to_rgb"]
    meta = {"CLASSES": NAMES, "cfg": settings}
    with pytest.raises(UserError, match="BGR"):
        convert_released(content["state_dict"], meta, Overrides())


def test_settings_that_contradict_each_other() -> None:
    content = checkpoint("zeg")
    content["meta"]["cfg"] = mmengine_settings()
    with pytest.raises(UserError, match="'config' and 'cfg'"):
        convert_released(content["state_dict"], content["meta"], Overrides())


def test_errors_name_three_weights_and_a_count() -> None:
    content = checkpoint("zeg")
    other = {f"student.{name}": value for name, value in content["state_dict"].items()}
    with pytest.raises(UserError) as caught:
        convert_released(other, content["meta"], Overrides())
    assert str(caught.value).count("student.") == 3
    assert str(caught.value).endswith(f"and {len(other) - 3} others")
    for name in content["state_dict"]:
        content["state_dict"][name] = torch.full((2,), torch.nan)
    with pytest.raises(UserError, match=rf"NaN.* and {len(other) - 3} others$"):
        convert_released(content["state_dict"], content["meta"], Overrides())
