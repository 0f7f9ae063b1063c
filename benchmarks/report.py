"""Time and size of the report page: 2,000 designs made, 20,000 designs loaded in a browser.

    python benchmarks/report.py

Needs selenium and Chromium for the second; the figures are printed, nothing is asserted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
from conftest import build

from dse.report import write_report


def main() -> None:
    """Print times and sizes."""
    with tempfile.TemporaryDirectory() as place:
        folder = build(Path(place) / "many", front=2000, kept=2000)
        start = time.perf_counter()
        path = write_report(folder)
        print(
            f"2,000 designs on the front: {path.stat().st_size / 1e6:.2f} MB, made in {time.perf_counter() - start:.2f} s"
        )
        folder = build(Path(place) / "more", front=500, kept=20_000)
        start = time.perf_counter()
        path = write_report(folder)
        print(f"20,000 designs: {path.stat().st_size / 1e6:.2f} MB, made in {time.perf_counter() - start:.2f} s")
        print(f"20,000 designs: loaded in {loaded_s(path)}")


def loaded_s(path: Path) -> str:
    """Seconds until the page says that it is drawn, in Chromium without a screen."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        return "not measured: selenium is not installed"
    if not (chromium and driver):
        return "not measured: no chromium with chromedriver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",
        "window-size=1400,1000",
        "enable-unsafe-swiftshader",
        "disable-dev-shm-usage",
    ):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        start = time.perf_counter()
        browser.get(path.as_uri())
        while browser.execute_script("return document.documentElement.dataset.ready") != "1":
            time.sleep(0.02)
        first = time.perf_counter() - start
        start = time.perf_counter()
        browser.execute_script("document.getElementById('all').click()")
        return f"{first:.2f} s (front), all drawn after another {time.perf_counter() - start:.2f} s"
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
