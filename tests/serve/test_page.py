"""The page in a browser: what a person does, and what then stands there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_clip.segmenter import Segmenter
from tests.serve import browser
from tests.serve.conftest import needs_page

pytestmark = [
    needs_page,
    pytest.mark.skipif(
        browser.what_is_missing() is not None, reason=str(browser.what_is_missing())
    ),
]

SCENE = Path(__file__).parents[2] / "examples" / "scene.png"
TOKEN = "only-for-this-test"
SECONDS = 60  # a machine that does other things as well


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with browser.running_server("--token", TOKEN, "--max-mb", "2") as (url, _):
        yield url


@pytest.fixture(scope="module")
def signed_in(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that was asked for the token and gave it."""
    with browser.browser(tmp_path_factory.mktemp("downloads")) as driver:
        driver.get(url)
        assert driver.current_url == f"{url}/sign-in"
        driver.find_element("name", "token").send_keys(TOKEN)
        driver.find_element("tag name", "button").click()
        yield driver


@pytest.fixture
def page(signed_in: Any, url: str) -> Any:
    """The page, fresh."""
    signed_in.get(url)
    wait(signed_in, lambda: signed_in.find_elements("css selector", "#run"))
    return signed_in


def wait(page: Any, condition: Callable[[], Any]) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(page, SECONDS, 0.1, [StaleElementReferenceException])
    return waiting.until(lambda _: condition())


def all_of(page: Any, selector: str) -> list[Any]:
    return page.find_elements("css selector", selector)


def choose(page: Any, file: Path) -> None:
    page.find_element("css selector", "#picture input[type=file]").send_keys(str(file))


def drop(page: Any, file: Path) -> None:
    choose(page, file)
    wait(page, lambda: all_of(page, "#picture img[src*='/file=']"))


def segment(page: Any, names: str) -> None:
    field = page.find_element("css selector", "#names textarea")
    field.clear()
    field.send_keys(names)
    page.find_element("css selector", "#run").click()


def legend(page: Any) -> list[str]:
    return [item.text for item in all_of(page, "#masks .legend-item")]


def expect_message(page: Any, reason: str) -> None:
    """Waits for an error with these words, and closes it."""
    wait(page, lambda: any(reason in text.text for text in all_of(page, ".toast-message-text")))
    assert "Traceback" not in page.page_source
    page.find_element("css selector", ".toast-close").click()
    wait(page, lambda: not all_of(page, ".toast-body"))


def opacities(page: Any) -> list[float]:
    script = (
        "return [...document.querySelectorAll('#masks img.mask')]"
        ".map(mask => Number(getComputedStyle(mask).opacity))"
    )
    return [float(value) for value in page.execute_script(script)]


def download(page: Any, button: str) -> Path:
    """The file that a click on a button brings."""
    folder = Path(page.downloads)
    before = complete_files(folder)
    page.find_element("css selector", f"#{button}").click()
    return wait(page, lambda: complete_files(folder) - before).pop()


def complete_files(folder: Path) -> set[Path]:
    """Without those that chromium still writes: hidden first, `.crdownload` then."""
    return {
        file
        for file in folder.iterdir()
        if not file.name.startswith(".") and file.suffix != ".crdownload"
    }


def test_names_a_click_and_masks(page: Any, url: str) -> None:
    drop(page, SCENE)
    segment(page, "cat, house, grass, sky|heaven")
    wait(page, lambda: len(legend(page)) == 4)
    expected = Segmenter.from_pretrained()(SCENE, "cat, house, grass, sky|heaven")
    by_share = sorted(expected.legend, key=lambda entry: -entry.share)
    assert [item.split()[0] for item in legend(page)] == [entry.name for entry in by_share]
    rows = [row.text for row in all_of(page, "#classes tr")]
    assert any(row.startswith("sky | heaven") for row in rows)
    assert ["name only" in row for row in rows] == [not entry.seen for entry in by_share]

    mask, record = download(page, "mask-file"), download(page, "record-file")
    with Image.open(mask) as image:
        assert np.array_equal(np.asarray(image), expected.labels)
    coco = json.loads(record.read_text())
    assert sum(one["area"] for one in coco["annotations"]) == expected.labels.size

    everything = page.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert len(everything) > 20
    elsewhere = [name for name in everything if not name.startswith((url, "data:", "blob:"))]
    assert elsewhere == []
    assert [e for e in page.get_log("browser") if e["level"] == "SEVERE"] == []


def test_an_example_opacity_and_the_legend(page: Any) -> None:
    from selenium.webdriver import ActionChains

    wait(page, lambda: len(all_of(page, "#examples button")) == 6)
    all_of(page, "#examples button")[0].click()
    count = len(wait(page, lambda: legend(page)))
    assert count > 2
    wait(page, lambda: opacities(page) == [0.6] * count)
    page.execute_script(
        "const slider = document.querySelector('#opacity input[type=range]');"
        "slider.value = 0.25; slider.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    wait(page, lambda: opacities(page) == [0.25] * count)
    ActionChains(page).move_to_element(all_of(page, "#masks .legend-item")[1]).perform()
    wait(page, lambda: opacities(page) == [0.0, 0.85, *[0.0] * (count - 2)])


def test_scores_and_stages(page: Any) -> None:
    wait(page, lambda: len(all_of(page, "#examples button")) == 6)
    all_of(page, "#examples button")[1].click()
    wait(page, lambda: legend(page))
    scores, stages = all_of(page, "button[role=tab]")[1:3]
    scores.click()
    first = wait(page, lambda: all_of(page, "#score-map img[src*='/file=']"))[0]
    source = first.get_attribute("src")
    page.find_element("css selector", "#score-name input").click()
    wait(page, lambda: len(all_of(page, "#score-name [role=option]")) > 2)
    all_of(page, "#score-name [role=option]")[1].click()
    other = lambda: [i.get_attribute("src") for i in all_of(page, "#score-map img")]  # noqa: E731
    wait(page, lambda: other() and other()[0] != source)
    stages.click()
    captions = wait(page, lambda: [c.text for c in all_of(page, "#stages figcaption")])
    assert len(captions) == 4
    assert captions[0].startswith("all stages together")
    assert captions[3].startswith("last layer only: block 12")


def test_mistakes_become_messages(page: Any, tmp_path: Path) -> None:
    segment(page, "cat")
    expect_message(page, "drop a picture first")
    drop(page, SCENE)
    for names, reason in (
        ("cat, Cat", "class name 'Cat' is given twice"),
        ("x" * 101, "at most 100"),
        ("<i>cat</i>, <i>cat</i>", "class name '<i>cat</i>' is given twice"),
    ):
        segment(page, names)
        expect_message(page, reason)
    segment(page, "<i>cat</i>, sky, 고양이")
    wait(page, lambda: "<i>cat</i>" in page.find_element("css selector", "#classes").text)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (SCENE.read_bytes()[:9000], "damaged or cut short")]
)
def test_bad_pictures_are_refused_with_a_message(
    page: Any, tmp_path: Path, data: bytes, reason: str
) -> None:
    (tmp_path / "bad.png").write_bytes(data)
    choose(page, tmp_path / "bad.png")
    expect_message(page, reason)


def test_files_of_this_machine_stay_here(page: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(SCENE.read_bytes())
    for file in ("/etc/passwd", tmp_path / "own.png", SCENE):
        page.get(f"{url}/gradio_api/file={file}")
        assert "root:" not in page.page_source and "<img" not in page.page_source


def test_a_signal_ends_it_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with browser.running_server() as (_, process):
        assert list(tmp_path.glob("cascade-clip-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert not list(tmp_path.glob("cascade-clip-*"))
