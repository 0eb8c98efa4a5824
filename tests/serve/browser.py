"""A running server, and a browser that looks at it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def what_is_missing() -> str | None:
    """What a browser test lacks on this machine; None: nothing."""
    if not any(shutil.which(name) for name in BROWSERS):
        return "chromium is not installed"
    return None if shutil.which("chromedriver") else "chromedriver is not installed"


@contextmanager
def running_server(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`cascade-clip serve` at a free port: where it is, and its process, which is ended after."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cascade_clip", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"serving .* at (http://[\d.:]+)", line):
                yield found[1], process
                return
        raise RuntimeError(f"the server did not start: {''.join(lines)}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def browser(downloads: Path | None = None, size: tuple[int, int] = (1320, 1240)) -> Iterator[Any]:
    """Headless chromium, (width, height) large; `downloads` takes what it loads, and is kept on the
    driver."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS, f"--window-size={size[0]},{size[1]}", "--hide-scrollbars"):
        options.add_argument(flag)
    options.binary_location = next(path for name in BROWSERS if (path := shutil.which(name)))
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.downloads = downloads
    try:
        yield driver
    finally:
        driver.quit()
