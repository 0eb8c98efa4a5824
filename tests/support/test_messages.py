"""What a mistyped name may have meant, and what of libraries' notes is shown."""

import logging
from collections.abc import Callable

import pytest

from cascade_clip.cli.options import read_choices
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.part import read_part
from cascade_clip.errors import UserError
from cascade_clip.export.request import read_format, read_precision
from cascade_clip.support.messages import did_you_mean, errors_alone, nearest


def test_the_most_similar_name_is_found_apart_from_case() -> None:
    assert nearest("Dgo", ["cat", "dog", "door"]) == "dog"
    assert nearest("picturebok", ["Picturebook"]) == "Picturebook"
    assert nearest("zebra", ["cat", "dog"]) is None
    assert nearest("zebra", ["cat"], cutoff=0.0) == "cat"
    assert nearest("zebra", []) is None


def test_a_message_ends_with_it_or_as_it_was() -> None:
    assert did_you_mean("tset", ["train", "test"]) == "; did you mean 'test'?"
    assert did_you_mean("zebra", ["train", "test"]) == ""


@pytest.mark.parametrize(
    ("read", "meant"),
    [
        (lambda: read_choices("coco, overley", "--save", ["overlay", "coco"]), "overlay"),
        (lambda: read_format("onx"), "onnx"),
        (lambda: read_precision("pf16"), "fp16"),
        (lambda: read_part("tset"), "test"),
        (lambda: load_recipe("picturebook-inductiv"), "cascade-clip/picturebook/inductive"),
    ],
)
def test_what_is_mistyped_on_the_command_line_is_told(
    read: Callable[[], object], meant: str
) -> None:
    with pytest.raises(UserError, match=f"; did you mean '{meant}'\\?"):
        read()


def test_of_what_libraries_log_errors_alone_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("library.part")
    with errors_alone("other", "library"):
        library.warning("advice")
        library.error("trouble")
    library.warning("later advice")
    assert [record.message for record in caplog.records] == ["trouble", "later advice"]
