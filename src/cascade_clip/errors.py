"""The exceptions that end a command with one line instead of a traceback."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of another library's message; its type if it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def lacks_memory(error: BaseException) -> bool:
    """Whether memory could not be had, of the machine or of a GPU."""
    torch_says = "not enough memory", "can't allocate memory", "out of memory"
    return isinstance(error, MemoryError) or any(text in str(error) for text in torch_says)


class UserError(Exception):
    """Says in one message what came, what is allowed and what to do.

    The command line prints it in one line and exits with code 2.
    """


class TrainingFailed(UserError):
    """Ends all processes of a training run alike, so only the first of them has to report it."""


class TrainingStopped(Exception):
    """A signal ended a training run between two steps; the message says how to go on.

    The command line prints it in one line and exits with code 128 + `signal_number`.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, signal_number)  # both: it passes from one process to another
        self.signal_number = signal_number

    def __str__(self) -> str:
        return str(self.args[0])
