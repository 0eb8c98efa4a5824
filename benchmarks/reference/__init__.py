"""The method as the papers and the released code have it, eager and float32.

What performance is held against: a plain translation with the names and the unused computations of
the released code, checked against its numbers in `tests/golden/test_reference.py`.
"""
