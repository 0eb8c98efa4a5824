"""What is checked before the first step: labels, classes, leaks, gradients.

A published number is easily wrong because labels were shifted by one or an unseen class leaked into
training. All of it is seen here on a few pictures, in seconds, on the pipeline as it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cascade_clip.clip.load import FrozenClip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.clip.text import TextEncoder
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.data.samples import Batch, Sample, SegmentationDataset, collate
from cascade_clip.data.sampling import seeded
from cascade_clip.data.stream import TrainStream
from cascade_clip.errors import UserError
from cascade_clip.ops.images import normalise
from cascade_clip.training.loaders import train_stream
from cascade_clip.training.module import TrainingModule, total
from cascade_clip.training.sanity.findings import Finding, Outcome
from cascade_clip.training.sanity.leaks import Scrambled, scrambles

LOOKED = 32
"""Pictures that are read."""
TRAINED = 2
"""Of these, pictures of which a part goes through the network, forth and back."""
WINDOW = 12
"""Side of these parts in patches: enough to see a leak, and quick on any machine."""
TEXTS = 300
"""Most prompts that are encoded a second time."""
UNREADABLE = 0.1
"""Share of unreadable pictures from which a run doesn't begin."""


def inspect_run(
    module: TrainingModule, clip: FrozenClip, dataset: SegmentationDataset
) -> list[Finding]:
    """Checks a run before its first step; on the CPU, and without changing anything.

    `clip` is the one below the module's network, `dataset` what it trains on.
    """
    stream = train_stream(module.recipe, dataset, module.normalisation.mean)
    samples, unreadable = _read(dataset, stream)
    findings = [_check_files(len(samples), unreadable)]
    if not samples:
        return findings
    crops = [stream[position] for position in range(LOOKED)]
    findings += [_check_range(samples, dataset), _check_learnable(crops, module)]
    if any(finding.outcome == "failed" for finding in findings):
        return findings
    windows = _choose_windows(crops, module)
    step = _step(module, [window.of(crops) for window in windows])
    return [
        *findings,
        _check_targets(step, module),
        _check_text(module, clip),
        _check_gradients(step),
        _check_leaks(module, dataset, crops, windows, step),
    ]


@dataclass(frozen=True)
class _Step:
    """One step without an update: what went in and what came out."""

    batch: Batch
    targets: Tensor
    loss: Tensor
    gradients: dict[str, Tensor | None]


def _read(dataset: SegmentationDataset, stream: TrainStream) -> tuple[list[Sample], list[str]]:
    samples, unreadable = [], []
    for position in range(LOOKED):
        try:
            samples.append(dataset[stream.order[position]])
        except UserError as error:
            unreadable.append(str(error))
    return samples, unreadable


def _check_files(readable: int, unreadable: Sequence[str]) -> Finding:
    detail = f"{readable} of {readable + len(unreadable)} pictures read"
    if not unreadable:
        return Finding("files", "ok", detail)
    outcome: Outcome = "failed" if len(unreadable) > UNREADABLE * LOOKED else "note"
    return Finding("files", outcome, f"{detail}; {unreadable[0]}")


def _check_range(samples: Sequence[Sample], dataset: SegmentationDataset) -> Finding:
    classes = len(dataset.classes.names)
    found = torch.cat([sample.labels.flatten().unique() for sample in samples]).unique()
    values = [value for value in found.tolist() if value not in (UNLABELLED, IGNORE)]
    beyond = [value for value in values if not 0 <= value < classes]
    if beyond:
        return Finding(
            "label values", "failed", f"{beyond[:5]} are none of 0 to {classes - 1}, "
            f"{UNLABELLED} (unlabelled) and {IGNORE} (ignored)",
        )  # fmt: skip
    span = f"{min(values)} to {max(values)}" if values else "none"
    told = f"{span}; {classes} classes allow 0 to {classes - 1}"
    if values and max(values) < classes - 1 and len(samples) >= classes:
        first, *_, last = dataset.classes.names
        told += (
            f"; none of {len(samples)} pictures holds the last, {last}: see with `cascade-clip "
            f"check` whether labels are shifted (0 is read as {first})"
        )
        return Finding("label values", "note", told)
    return Finding("label values", "ok", told)


def _check_learnable(crops: Sequence[Sample], module: TrainingModule) -> Finding:
    labels = torch.stack([crop.labels.long() for crop in crops])  # (N, H, W)
    shares = {
        "seen": torch.isin(labels, module.seen).float().mean().item(),
        "unseen": torch.isin(labels, module.unseen).float().mean().item(),
        "unlabelled": (labels == UNLABELLED).float().mean().item(),
        "ignored": (labels == IGNORE).float().mean().item(),
    }
    detail = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    setting = module.recipe.train.setting
    learned = {
        "inductive": ("seen",), "transductive": ("seen", "unseen", "unlabelled"),
        "full": ("seen", "unseen"),
    }[setting]  # fmt: skip
    if not any(shares[name] for name in learned):
        return Finding("pixels of crops", "failed", f"nothing to learn from: {detail}")
    return Finding("pixels of crops", "ok", detail)


@dataclass(frozen=True)
class _Window:
    """A part of crop number `index` that goes through the network."""

    index: int
    top: int
    left: int
    side: int

    def of(self, crops: Sequence[Sample]) -> Sample:
        crop = crops[self.index]
        rows, columns = (
            slice(self.top, self.top + self.side),
            slice(self.left, self.left + self.side),
        )
        return replace(crop, image=crop.image[:, rows, columns], labels=crop.labels[rows, columns])


def _choose_windows(crops: Sequence[Sample], module: TrainingModule) -> list[_Window]:
    """Windows in the crops with the most pixels of unseen classes, around these."""
    size = module.recipe.inference.crop
    side = min(size, WINDOW * max(module.network.patch_size))
    unseen = [torch.isin(crop.labels.long(), module.unseen) for crop in crops]
    chosen = sorted(range(len(crops)), key=lambda index: -int(unseen[index].sum()))[:TRAINED]
    windows = []
    for index in chosen:
        places = unseen[index].nonzero()  # (P, 2)
        middle = places.float().mean(0) if len(places) else torch.tensor([size / 2, size / 2])
        top, left = (int((m - side / 2).clamp(0, size - side)) for m in middle)
        windows.append(_Window(index, top, left, side))
    return windows


def _step(module: TrainingModule, crops: Sequence[Sample]) -> _Step:
    batch, normalisation = collate(crops), module.normalisation
    with seeded(module.recipe.train.seed), torch.enable_grad():
        images = normalise(batch.images, normalisation.mean, normalisation.std)
        output, targets = module.predict_for_loss(images, batch.labels)
        loss = total(module.loss_terms(output, targets))
        loss.backward()
    gradients = {name: p.grad for name, p in module.network.trained_parameters().items()}
    module.zero_grad(set_to_none=True)
    return _Step(batch, targets, loss.detach(), gradients)


def _check_targets(step: _Step, module: TrainingModule) -> Finding:
    check = "labels of the loss"
    labels, targets, setting = step.batch.labels.long(), step.targets, module.recipe.train.setting
    seen, unseen = torch.isin(labels, module.seen), torch.isin(labels, module.unseen)
    if setting == "inductive":
        own = module.seen[targets.clamp(max=len(module.seen) - 1)]
        right = torch.where(seen, own == labels, targets == IGNORE)
        says = f"the {len(module.seen)} seen classes; unseen pixels are ignored"
    elif setting == "transductive":
        pseudo = torch.isin(targets, module.unseen)
        known = torch.where(seen, targets == labels, targets == IGNORE)
        right = torch.where(unseen | (labels == UNLABELLED), pseudo, known)
        says = "seen classes keep their label, unseen pixels take pseudo-labels among the unseen"
    else:
        right = torch.where(seen | unseen, targets == labels, targets == IGNORE)
        says = "all classes"
    if set(module.seen.tolist()) & set(module.unseen.tolist()) or not bool(right.all()):
        wrong = f"{(~right).float().mean():.1%} of the pixels get a label they must not have"
        return Finding(check, "failed", f"seen and unseen classes mix: {wrong}")
    return Finding(check, "ok", says)


def _check_text(module: TrainingModule, clip: FrozenClip) -> Finding:
    classes, data = module.classes, module.recipe.data
    templates, average = TEMPLATES[data.templates], data.average_templates
    encode = TextEncoder(clip.model, clip.tokenize)  # one that remembers nothing of the run
    count = max(1, min(len(classes.names), TEXTS // len(templates)))
    looked = [index * len(classes.names) // count for index in range(count)]
    for index in looked:
        embedding = encode([classes.prompts[index]], templates, average=average)[0]  # ([K,] d)
        nearest = int((module.text_embeddings * embedding).flatten(1).sum(dim=1).argmax())
        if (module.text_embeddings[index] - embedding).norm() > 1e-3:
            return Finding(
                "text embeddings", "failed", f"row {index} is not '{classes.prompts[index]}'; "
                f"nearest to that name is row {nearest} ('{classes.names[nearest]}')",
            )  # fmt: skip
    return Finding("text embeddings", "ok", f"{count} of {len(classes.names)} names encoded anew")


def _check_gradients(step: _Step) -> Finding:
    missing = [name for name, gradient in step.gradients.items() if gradient is None]
    broken = [
        name
        for name, gradient in step.gradients.items()
        if gradient is not None and not bool(gradient.isfinite().all())
    ]
    if broken or not bool(step.loss.isfinite()):
        names = ", ".join(broken[:3]) or "the loss"
        return Finding("gradients", "failed", f"not finite: {names}")
    if missing:
        return Finding(
            "gradients", "note", f"{len(missing)} trained parameters have none: {missing[0]}"
        )
    loss = f"loss {step.loss:.2f}"
    return Finding(
        "gradients", "ok", f"{loss}; all {len(step.gradients)} trained parameters have one"
    )


def _check_leaks(
    module: TrainingModule,
    dataset: SegmentationDataset,
    crops: Sequence[Sample],
    windows: Sequence[_Window],
    step: _Step,
) -> Finding:
    check, recipe = "leaks of unseen labels", module.recipe
    ways = scrambles(recipe.train.setting, module.unseen.tolist())
    if not ways:
        return Finding(check, "skipped", "no label is hidden from this training")
    if not bool(torch.isin(step.batch.labels.long(), module.unseen).any()):
        return Finding(check, "skipped", f"{LOOKED} crops hold no pixel of an unseen class")
    changed = []
    for way in ways:
        stream = train_stream(recipe, Scrambled(dataset, way), module.normalisation.mean)
        others = [stream[position] for position in range(LOOKED)]
        moved = sum(not torch.equal(a.image, b.image) for a, b in zip(crops, others, strict=True))
        changed += [f"{moved} of {LOOKED} crops"] if moved else []
        if all(torch.equal(crops[w.index].image, others[w.index].image) for w in windows):
            changed += _differences(step, _step(module, [window.of(others) for window in windows]))
    told = ", ".join(dict.fromkeys(changed))
    if recipe.data.augment.crop_rule == "released":
        here = f"here {told} change" if told else "but in none of these pictures it matters"
        return Finding(check, "note", f"crop rule 'released' looks at unseen labels; {here}")
    if told:
        return Finding(check, "failed", f"{told} change with unseen labels")
    names = " or ".join(way.name for way in ways)
    told = f"{LOOKED} crops, loss and gradients stay the same, bit for bit, with them {names}"
    return Finding(check, "ok", told)


def _differences(one: _Step, other: _Step) -> list[str]:
    found = [] if torch.equal(one.loss, other.loss) else ["loss"]
    for name, gradient in one.gradients.items():
        theirs = other.gradients[name]
        if gradient is not None and (theirs is None or not torch.equal(gradient, theirs)):
            return [*found, "gradients"]
    return found
