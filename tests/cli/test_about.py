"""`info` from files alone; what the program says by itself, in help and to a shell."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.checkpoint.locate import EMBEDDED
from cascade_clip.cli.app import FIRST_STEPS, examples, main


def test_the_embedded_model_is_described_without_loading_it() -> None:
    code = (
        "import sys; from cascade_clip.cli.about import info; info(); "
        "sys.exit('open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.replace("│", " ").split())
    bundle = load_bundle(EMBEDDED)
    clip = sum(weight.numel() for weight in bundle.clip.model.parameters()) / 1e6
    trained = sum(p.numel() for p in bundle.network.trained_parameters().values()) / 1e6
    assert f"{clip:.1f} M weights, {bundle.clip.depth} blocks" in words
    assert f"{bundle.recipe.name}, {trained:.1f} M trained weights" in words
    assert f"unseen in training {bundle.classes.unseen[0]}" in words


def test_alone_it_tells_the_next_steps_and_help_gives_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, told in (([], FIRST_STEPS), (["serve", "--help"], examples("serve")[0])):
        monkeypatch.setattr(sys, "argv", ["cascade-clip", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert told in capsys.readouterr().out


def test_a_shell_completes_options_of_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cascade-clip"])
    monkeypatch.setenv("_CASCADE_CLIP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "cascade-clip segment --cl")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["--classes", "--clip"]
