"""MATLAB files, in which SBD and PASCAL Context are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from cascade_clip.errors import UserError


def read_mat(path: Path, variable: str, field: str | None = None) -> NDArray[np.integer]:
    """The matrix (H, W) in a variable of a .mat file, or in a field of it.

    Raises `UserError` naming the file if it can't be read or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        value = loadmat(path, variable_names=[variable])[variable]
        matrix = np.asarray(value if field is None else value[0, 0][field])
    except Exception as error:  # SciPy raises nearly anything on files that aren't sound
        what = variable if field is None else f"{variable}.{field}"
        raise UserError(f"{path} can't be read as a .mat file with {what}: {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "ui":
        raise UserError(f"{path} holds {matrix.dtype} of shape {matrix.shape}, expected labels")
    return matrix
