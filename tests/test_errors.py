from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from cascade_clip.errors import TrainingStopped, first_line, lacks_memory


def test_a_stopped_training_is_told_to_another_process() -> None:
    stopped = pickle.loads(pickle.dumps(TrainingStopped("stopped after step 3", 15)))
    assert (str(stopped), stopped.signal_number) == ("stopped after step 3", 15)


def test_the_first_line_of_an_error_or_its_type() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(EOFError()) == "EOFError"


def test_what_says_that_memory_is_lacking() -> None:
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(1 << 60, np.uint8)
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert lacks_memory(of_numpy.value) and lacks_memory(of_torch.value)
    assert lacks_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB"))
    assert not lacks_memory(RuntimeError("shapes don't fit"))
