"""Class names in prompt templates to text embeddings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.clip.prefix_tree import encode_tokens, reads_causally
from cascade_clip.clip.templates import SINGLE_TEMPLATE
from cascade_clip.clip.text_store import TextStore
from cascade_clip.errors import UserError

NameEncoder = Callable[[Sequence[str], Sequence[str]], Tensor]
"""(names, templates) to text embeddings (C, d), or (C, K, d) with one for each of K templates."""

REMEMBERED = 4096
"""Embeddings that an encoder keeps: names, each with its templates."""
BATCH = 256
"""Texts that are encoded at once."""
TREE_BATCH = 4096
"""And at most where beginnings that they share are encoded once."""
WORTH_KEEPING = 256
"""Fewer texts than these are encoded anew at every start, though a store may hold their names."""


class TextEncoder:
    """A CLIP's tokenizer and text encoder; what was encoded lately is not encoded again.

    `model` is open_clip's CLIP; `tokenize` maps L texts to token ids (L, context_length), int64,
    zero-padded. What was encoded of at most `remembered` names is kept; means over many templates
    in `store`, too.
    """

    def __init__(
        self,
        model: Any,
        tokenize: Callable[[list[str]], Tensor],
        *,
        remembered: int = REMEMBERED,
        store: TextStore | None = None,
    ) -> None:
        self.store = store
        self.model = model
        self.tokenize = tokenize
        self.remembered = remembered
        self._reads_causally = reads_causally(model)
        self._embeddings: OrderedDict[tuple[str, tuple[str, ...], bool], Tensor] = OrderedDict()

    def __call__(
        self,
        names: Sequence[str],
        templates: Sequence[str] = SINGLE_TEMPLATE,
        *,
        average: bool = True,
    ) -> Tensor:
        """Text embeddings T (C, d) of C class names: float32, L2-normalised, on the CPU.

        Each template's embedding is normalised, their mean is normalised again, as in ZegCLIP.
        Without `average`, all K templates' embeddings are given: (C, K, d).

        Raises `UserError` for an empty list, a name without any token, or one that is too long.
        """
        if not names:
            raise UserError("no class names given; give at least one, e.g. --classes 'cat, grass'")
        kept, filled = self._embeddings, tuple(templates)
        new = [name for name in dict.fromkeys(names) if (name, filled, average) not in kept]
        _check_names(self.tokenize, new, filled)
        encode = self._stored if average else partial(self._encode, average=False)
        for name, embedding in zip(new, encode(new, filled), strict=True):
            kept[name, filled, average] = embedding
        for name in names:
            kept.move_to_end((name, filled, average))
        embeddings = torch.stack([kept[name, filled, average] for name in names])  # (C, [K,] d)
        while len(kept) > self.remembered:
            kept.popitem(last=False)
        return embeddings

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Embeddings (L, d) of L texts as they are: float32, not normalised, not kept."""
        tokens = self.tokenize(texts)  # (L, context_length)
        if self._reads_causally:
            return encode_tokens(self.model, tokens).float()
        device = next(self.model.parameters()).device
        with torch.no_grad():
            embeddings: Tensor = self.model.encode_text(tokens.to(device))  # (L, d)
        return embeddings.float()

    def _stored(self, names: Sequence[str], templates: Sequence[str]) -> list[Tensor]:
        """Embeddings (d,), each; the store's, if it is worth to ask it."""
        if self.store is None or len(names) * len(templates) < WORTH_KEEPING:
            return list(self._encode(names, templates))
        found = self.store.read(names, templates)
        missing = [name for name in names if name not in found]
        new = dict(zip(missing, self._encode(missing, templates), strict=True))
        if new:
            self.store.add(templates, new)
        return [(found | new)[name] for name in names]

    def _encode(
        self, names: Sequence[str], templates: Sequence[str], average: bool = True
    ) -> Tensor:
        """Embeddings (C, d), or (C, K, d), L2-normalised."""
        texts = [template.format(name) for name in names for template in templates]
        batch = TREE_BATCH if self._reads_causally else BATCH
        chunks = [self.encode_texts(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        if not chunks:
            return torch.empty(0, 0)
        embeddings = F.normalize(torch.cat(chunks), dim=-1)  # (C * K, d)
        embeddings = embeddings.unflatten(0, (len(names), len(templates)))  # (C, K, d)
        return mean_prompt(embeddings) if average else embeddings


def mean_prompt(text: Tensor) -> Tensor:
    """Unit text embeddings (C, K, d) of K prompts a class to the class's own, (C, d): their mean,
    of unit length again. (C, d) stay as they are."""
    return F.normalize(text.mean(dim=1), dim=-1) if text.ndim == 3 else text


def _check_names(
    tokenize: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]
) -> None:
    if not names:
        return
    empty = tokenize([""])  # (1, context_length)
    unread = (tokenize(list(names)) == empty).all(dim=1)  # (C,)
    texts = tokenize([template.format(name) for name in names for template in templates])
    # The tokenizer cuts silently; a cut text has no padding left at the end of its row.
    cut = (texts[:, -1] != empty[0, -1]).unflatten(0, (len(names), -1)).any(dim=1)  # (C,)
    for name, no_word, too_long in zip(names, unread.tolist(), cut.tolist(), strict=True):
        shown = name if len(name) <= 40 else name[:37] + "..."
        if no_word:
            raise UserError(f"class name '{shown}' holds no word that the text encoder can read")
        if too_long:
            raise UserError(
                f"class name '{shown}' is too long: with its template it exceeds the text "
                f"encoder's {texts.shape[1]} tokens; shorten it"
            )
