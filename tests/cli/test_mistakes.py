"""Mistakes are told at once: before PyTorch is loaded, and before anything is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.cli.options import read_classes, read_names
from cascade_clip.errors import UserError

MISTAKES = {
    "evaluate picturebok": "did you mean 'picturebook'?",
    "evaluate picturebook --part tset": "did you mean 'test'?",
    "evaluate picturebook --data context5": "did you mean 'context59'?",
    "evaluate picturebook --out file/metrics.json": "file is a file, not a folder",
    "evaluate picturebook --out folder": "folder is a folder; give the name of a file",
    "evaluate m.onnx": "m.onnx is an exported file; evaluate needs the model it came from",
    "analyze cka m.onnx": "analyze needs the model it came from",
    "analyze stages picturebook --against picturebok": "did you mean 'picturebook'?",
    "analyze stages picturebook --part tset": "did you mean 'test'?",
    "analyze stages picturebook --out file/x": "can't write to file/x",
    "convert nope.pth out": "no checkpoint at nope.pth",
    "convert file folder/full": "exists already",
    "convert file out --inner-blocks 6-8": "inner-blocks are numbers with commas",
    "segment a.png --classes cat --threshold 1.5": "--threshold",
    "segment a.png --classes cat --threshold nan": "--threshold",
    "segment a.png --classes cat;sky": "separate class names by commas",
    "segment a.png --classes names.txt": "no such file: names.txt",
    "segment a.png --classes cat --save overley": "did you mean 'overlay'?",
    "label a.png --classes cat --threshold -1": "--threshold",
    "segment a.png --classes cat --pretrained openai": "CLIP alone: --clip ViT-B-16/openai",
    "label a.png --classes cat --clip ViT-L-14 --pretrained openai": "--clip ViT-L-14/openai",
    "evaluate picturebook --pretrained w.pt": "to segment with CLIP alone: --clip w.pt",
    "segment a.png --classes cat --model ViT-B-16": "use it with: --clip ViT-B-16/openai",
    "segment a.png --classes cat --model voc20-inductive": "--clip ViT-B-16/openai; to train one:",
    "segment a.png --classes cat --model sc-clip-voc20": "sc-clip needs no training: --clip ViT",
    "segment a.png --classes cat --device gpu": "--device is auto, cpu, cuda, mps or cuda:N",
    "label a.png --classes cat --device cuda:x": "got 'cuda:x'; did you mean 'cuda'?",
    "segment a.png --classes cat --set train.steps=3": "'train' belongs to a recipe",
    "label a.png --classes cat --set inference.refin=pamr": "did you mean 'inference.refine'?",
    "serve --set refine": "'refine' is no override; write key=value",
    "serve --precision fp16": "--precision is auto, fp32, bf16, int8; got 'fp16'",
    "evaluate picturebook --precision int8 --device cuda:1": "int8 runs on CPUs only",
    "analyze cka picturebook --device tpu": "--device is",
}
PROGRAM = """
import io, json, sys
from contextlib import redirect_stderr
from cascade_clip.cli.app import main
said = {}
for command in json.load(sys.stdin):
    sys.argv = ["cascade-clip", *command.split()]
    with redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as exit_:
            said[command] = [exit_.code, errors.getvalue()]
assert "torch" not in sys.modules
print(json.dumps(said))
"""


def test_mistakes_are_told_without_loading_pytorch(tmp_path: Path) -> None:
    (tmp_path / "folder/full").mkdir(parents=True)
    for name in ("folder/full/x", "file", "m.onnx"):
        (tmp_path / name).touch()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(MISTAKES)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command, (code, error) in json.loads(done.stdout).items():
        assert code == 2, command
        assert MISTAKES[command] in error, command


def test_names_may_stand_in_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "names"
    listed.write_text("\ufeffcat\nsofa|couch\r\n\nhouse, red\n", encoding="utf-8")
    groups = (("cat",), ("sofa", "couch"), ("house, red",))
    assert read_classes(str(listed)).groups == groups
    assert read_names(str(listed)) == ("cat", "sofa|couch", "house, red")
    listed.write_text("# things\ncat, house,\n", encoding="utf-8")
    assert read_classes(str(listed)).names == read_names(str(listed)) == ("cat", "house")
    assert read_names(" cat ,house") == ("cat", "house")
    assert read_names("") == ()
    listed.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no class names"):
        read_classes(str(listed))
