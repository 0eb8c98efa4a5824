"""The same numbers sooner: lower precision, fused attention, caches."""
