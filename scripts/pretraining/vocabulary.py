"""A small byte-pair vocabulary in the form that open_clip's SimpleTokenizer reads."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from cascade_clip.clip.templates import SCENE_TEMPLATES, SINGLE_TEMPLATE

HEADER = "#version: picturebook"
SPECIAL_TOKENS = 2
BYTE_TOKENS = 512
"""256 bytes, each within a word or at its end."""


def vocabulary_size(merges: int) -> int:
    """Number of token ids of a tokenizer with that many merges."""
    return BYTE_TOKENS + merges + SPECIAL_TOKENS


def learn_merges(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until every (ASCII) word is one token."""
    words = Counter(word for text in texts for word in text.lower().replace(".", " ").split())
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter[tuple[str, str]]()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merge(parts, best) for word, parts in pieces.items()}


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def write_vocabulary(path: Path, names: Iterable[str], colours: Iterable[str]) -> int:
    """Writes the merges for the picture book's and the templates' words; returns how many."""
    templates = [t.format("") for t in (*SINGLE_TEMPLATE, *SCENE_TEMPLATES)]
    merges = learn_merges([*names, *colours, *templates])
    lines = [HEADER, *(" ".join(pair) for pair in merges)]
    # mtime=0: the same words give the same file, bit for bit.
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return len(merges)
