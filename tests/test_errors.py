from __future__ import annotations

import pickle

from cascade_clip.errors import TrainingStopped, first_line


def test_a_stopped_training_is_told_to_another_process() -> None:
    stopped = pickle.loads(pickle.dumps(TrainingStopped("stopped after step 3", 15)))
    assert (str(stopped), stopped.signal_number) == ("stopped after step 3", 15)


def test_the_first_line_of_an_error_or_its_type() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(EOFError()) == "EOFError"
