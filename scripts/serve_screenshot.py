"""Takes the picture of the web page: `python -m scripts.serve_screenshot [FILE]`, with chromium."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tests.serve.browser import browser, running_server

FILE = Path(__file__).parents[1] / "docs" / "images" / "serve.png"
SECONDS = 60
COLOURS = 256


def main(file: Path = FILE) -> None:
    with running_server() as (url, _), browser(size=(1280, 1300)) as driver:
        driver.get(f"{url}/?__theme=light")
        until(driver, lambda: driver.find_elements("css selector", "#examples button"))[0].click()
        until(driver, lambda: driver.find_elements("css selector", "#classes tr"))
        time.sleep(2)  # what fades in is there
        shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def until(driver: Any, found: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, SECONDS).until(lambda _: found())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
