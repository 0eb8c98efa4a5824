"""The model that a run starts from: whether it fits, and whether it makes sense."""

from __future__ import annotations

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.class_names import trained_names
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.training.sanity.findings import Finding

CHECK = "start of training"


def check_start(start: Bundle, recipe: Recipe) -> None:
    """Raises `UserError` unless encoder and head of the model have the settings of `recipe`."""
    source = f"train.start_from {recipe.train.start_from}"
    for part in ("encoder", "head"):
        theirs = getattr(start.recipe.model, part)
        for key, value in getattr(recipe.model, part):
            if getattr(theirs, key) != value:
                raise UserError(
                    f"{source} has model.{part}.{key} = {getattr(theirs, key)}, this recipe "
                    f"{value}; they must be equal"
                )


def describe_start(start: Bundle | None, recipe: Recipe, classes: ClassSet) -> Finding:
    """For the sanity report: self-training without a model to start from, and unseen classes whose
    masks that model was trained on, spoil results without a sign."""
    transductive = recipe.train.setting == "transductive"
    if start is None:
        if not transductive:
            return Finding(CHECK, "ok", "untrained prompts and decoders on CLIP")
        return Finding(
            CHECK, "note", "untrained, so that the first pseudo-labels are noise; the published "
            "models start from an inductive one after half its steps: "
            "train.start_from=RUN/model-STEP",
        )  # fmt: skip
    theirs = start.recipe.train.setting
    detail = f"{recipe.train.start_from}, a model of {start.recipe.name} ({theirs}), and its CLIP"
    taught = start.classes.names if theirs == "full" else start.classes.trained_names
    flags = trained_names(classes.unseen, taught)
    known = [name for name, known in zip(classes.unseen, flags, strict=True) if known]
    if known and recipe.train.setting != "full":
        masks = f"was trained on masks of {', '.join(known)}, unseen here"
        return Finding(CHECK, "note", f"{detail}, {masks}: U is no figure of zero-shot learning")
    return Finding(CHECK, "ok", detail)
