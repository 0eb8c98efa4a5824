"""What a CPU multiplies fast, by the instruction sets it has."""

from __future__ import annotations

from collections.abc import Set

import torch

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Instruction sets, each of which makes products of bfloat16 faster than those of float32."""


def cpu_features() -> frozenset[str]:
    """Instruction sets of this CPU, named as in `torch.cpu.get_capabilities()`."""
    found = torch.cpu.get_capabilities()
    return frozenset(name for name, present in found.items() if present is True)


def multiplies_bfloat16(features: Set[str]) -> bool:
    """Whether a CPU with these `cpu_features` multiplies bfloat16 faster than float32."""
    return not BFLOAT16.isdisjoint(features)


def adds_8_bit_products_in_32_bits(features: Set[str]) -> bool:
    """Whether sums of 8-bit products can't overflow on a CPU with these `cpu_features`.

    Without VNNI, two products of an unsigned and a signed integer are added in 16 bits.
    """
    return "avx512_vnni" in features


def why_slower(precision: str, features: Set[str]) -> str | None:
    """Why "bf16" or "int8" would be slower than float32 on a CPU with these `cpu_features`.

    None if it would not, and for all other precisions.
    """
    if precision == "bf16" and not multiplies_bfloat16(features):
        return "bf16 is faster than float32 only on CPUs with avx512_bf16 or amx_bf16, not on this"
    if precision == "int8" and not ("avx2" in features and torch.backends.mkldnn.is_available()):
        return "int8 needs a CPU with avx2 and a PyTorch with oneDNN: anything else is slow"
    return None
