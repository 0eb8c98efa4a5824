"""CLIP's tokenizer: lower-case words to byte pairs."""

from __future__ import annotations

import gzip
import html
import math
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import ftfy
import regex
import torch
from torch import Tensor

MERGES = 49152 - 256 - 2
"""Lines of CLIP's vocabulary that are read, after the first; its file goes on."""
MOST_WORDS = 100_000
"""Whose units are remembered, so that memory stays bounded whatever a server is asked."""
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_WORDS = regex.compile(
    "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


class Tokenizer:
    """Texts to token ids, as open_clip's `SimpleTokenizer`, whose import takes seconds.

    `vocabulary` is a gzip file of merges in CLIP's own format.
    """

    def __init__(self, vocabulary: Path, context_length: int = 77) -> None:
        lines = gzip.decompress(vocabulary.read_bytes()).decode().split("\n")
        merges = [tuple(line.split()) for line in lines[1 : 1 + MERGES]]
        letters = _letters()
        units = [*letters.values(), *(letter + "</w>" for letter in letters.values())]
        units += ["".join(merge) for merge in merges] + list(_SPECIAL)
        self._letters = letters
        self._ids = {unit: number for number, unit in enumerate(units)}
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._known = {token: [token] for token in _SPECIAL}
        self.vocab_size = len(self._ids)
        self.context_length = context_length

    def __call__(self, texts: list[str]) -> Tensor:
        """L texts to token ids (L, context_length), int64, zero-padded; longer ones are cut."""
        start, end = (self._ids[token] for token in _SPECIAL)
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            whole = [start, *self.encode(text)[: self.context_length - 2], end]
            row[: len(whole)] = torch.tensor(whole)
        return ids

    def encode(self, text: str) -> list[int]:
        """The token ids of one text, neither begun nor ended."""
        clean = html.unescape(html.unescape(ftfy.fix_text(text)))
        words = _WORDS.findall(" ".join(clean.split()).lower())
        spelled = ("".join(self._letters[byte] for byte in word.encode()) for word in words)
        return [self._ids[unit] for word in spelled for unit in self._merge(word)]

    def _merge(self, word: str) -> list[str]:
        """The units of a word: the pair that was merged first when the vocabulary was learnt is
        joined everywhere, until no pair is known."""
        if word in self._known:
            return self._known[word]
        units = [*word[:-1], word[-1] + "</w>"]
        while len(units) > 1:
            first = min(pairwise(units), key=self._rank)
            if first not in self._ranks:
                break
            units = _join(units, first)
        if len(self._known) < MOST_WORDS:
            self._known[word] = units
        return units

    def _rank(self, pair: tuple[str, str]) -> float:
        return self._ranks.get(pair, math.inf)


def clip_vocabulary() -> Path:
    """The vocabulary of CLIP itself, which open_clip's package has; found without its import."""
    found = find_spec("open_clip")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("open_clip_torch is not installed", name="open_clip")
    return Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz"


def _join(units: list[str], pair: tuple[str, str]) -> list[str]:
    joined, position = list[str](), 0
    while position < len(units):
        same = tuple(units[position : position + 2]) == pair
        joined.append("".join(pair) if same else units[position])
        position += 2 if same else 1
    return joined


def _letters() -> dict[int, str]:
    """A printable letter for every byte: its own where it has one."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    own += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(256) if byte not in own]
    letters = {byte: chr(byte) for byte in own}
    return letters | {byte: chr(256 + number) for number, byte in enumerate(others)}
