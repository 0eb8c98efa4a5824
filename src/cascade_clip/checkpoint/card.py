"""The model card: what a model knows, how it was made and how it is used, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import yaml

from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet

_PUBLISHED_AS = "organisation/model"
_METHODS = {
    "deep-prompts": "deep visual prompts (ZegCLIP, arXiv 2212.03588)",
    "shallow-prompts": "shallow visual prompts (VPT, arXiv 2203.12119)",
    "spectral-prompts": "spectral prompts (SPT-SEG, arXiv 2312.12754)",
    "relationship-prompts": "relationship prompts (RPN, NeurIPS 2024)",
    "frozen": "none, the encoder is frozen",
    "last-blocks": "its last blocks are trained",
    "full": "all of it is trained",
}


def model_card(
    recipe: Recipe,
    classes: ClassSet,
    clip: FrozenClip,
    metrics: Mapping[str, float | None],
    *,
    repo_id: str | None = None,
    licence: str | None = None,
    has_clip: bool = False,
) -> str:
    """Markdown with the hub's header.

    `repo_id` is where the model will be published; `licence` an identifier that the hub knows
    (`apache-2.0`, ...), None: unknown. `has_clip` says that the folder holds the CLIP too.
    """
    header = {
        "library_name": "cascade-clip",
        "pipeline_tag": "image-segmentation",
        "tags": ["zero-shot-segmentation", "open-vocabulary-segmentation", "clip"],
        "license": licence or "other",
    }
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {(repo_id or recipe.file_name).split('/')[-1]}",
        (recipe.summary + ". " if recipe.summary else "")
        + "It segments pictures into classes that are named at run time, also into ones that no "
        "mask in its training showed.",
        _usage(recipe, repo_id or _PUBLISHED_AS),
        _classes(classes),
        _training(recipe),
        _metrics(metrics),
        _clip(clip, has_clip),
        _licence(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _usage(recipe: Recipe, repo_id: str) -> str:
    note = ""
    if recipe.model.clip.embedded:
        note = "\n\nIt knows drawn scenes only, no photographs."
    return f"""## Use

```sh
cascade-clip segment picture.jpg --model {repo_id} --classes "cat, sofa|couch, wall"
```

```python
from cascade_clip import Segmenter

segmenter = Segmenter.from_pretrained("{repo_id}")
segmenter("picture.jpg", "cat, sofa|couch, wall").save("masks.png")
```{note}"""


def _classes(classes: ClassSet) -> str:
    unseen = _listed(classes.unseen) or "none"
    return f"""## Classes

With masks in training ({len(classes.seen)}): {_listed(classes.seen)}.

In the data, but without masks in training ({len(classes.unseen)}): {unseen}.

Any other name may be asked for; how well that works depends on CLIP."""


def _training(recipe: Recipe) -> str:
    model, data, train = recipe.model, recipe.data, recipe.train
    inference = recipe.inference
    stages = " ".join("{" + ", ".join(map(str, stage)) + "}" for stage in model.head.stages)
    rows = {
        "recipe": f"`{recipe.name}`",
        "data": data.name,
        "split into seen and unseen": data.split,
        "setting": train.setting,
        "steps x batch": f"{train.steps} x {train.batch_size}",
        "stages (blocks of the encoder)": stages,
        "head": f"`{model.head.kind}`",
        "tuning of the encoder": _METHODS[model.encoder.tuning],
        "pictures": f"short side {inference.short_side}, windows of {inference.crop}, "
        f"step {inference.stride}",
        "seen-score offset": f"{inference.seen_score_offset:g}",
    }
    return "## Training\n\n" + _table(("", ""), rows.items())


def _metrics(metrics: Mapping[str, float | None]) -> str:
    known = {name: value for name, value in metrics.items() if value is not None}
    if not known:
        return "## Metrics\n\nNone were stored with the model."
    rows = [(name.replace("_", " "), f"{100 * value:.1f}") for name, value in known.items()]
    return "## Metrics\n\nIn percent, as stored with the model.\n\n" + _table(("metric", "%"), rows)


def _clip(clip: FrozenClip, has_clip: bool) -> str:
    name = "one of its own" if has_clip else f"`{clip.name}`"
    where = (
        "It lies in `clip/`, in open_clip's layout."
        if has_clip
        else "It is not part of these files; it is loaded by its name."
    )
    return f"""## CLIP

The model stands on a CLIP: {name}, {clip.depth} blocks, patches of {clip.patch_size} pixels,
embeddings of width {clip.embed_dim}. {where} The SHA-256 of its weights is
`{clip.fingerprint}`; on another CLIP the model does not load."""


def _licence(licence: str | None) -> str:
    own = f"The weights are given under `{licence}`." if licence else "The licence is not stated."
    return f"""## Licence

{own} The weights of CLIP and the pictures and masks of the training keep the licences of those who
made them; check that they allow your use."""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in (head, ("---", "---"), *rows))
