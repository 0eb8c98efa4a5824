"""`info`: what it says about the embedded model, from its files alone."""

from __future__ import annotations

import subprocess
import sys

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.checkpoint.locate import EMBEDDED


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
