"""From the page to the figures: a design downloaded in a real browser is evaluated to the front's last digit; the bit map follows a click."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

import dse  # noqa: E402
from dse.report import write_report  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "run"
    dse.explore("imagenet_resnet", "flex_trainer", trials=2, seed=0, out=folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "window-size=1200,900", "enable-unsafe-swiftshader", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    folder = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = folder
    yield driver
    driver.quit()


def test_a_downloaded_design_is_reproduced_by_dse_evaluate(browser, run_folder, tmp_path):
    browser.get(write_report(run_folder).as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.ready") == "1")
    front = pd.read_csv(run_folder / "front.csv")
    row = front.iloc[-1]
    Select(browser.find_element(By.ID, "chosen")).select_by_value(
        str(list(pd.read_csv(run_folder / "designs.csv")["design"]).index(row["design"]))
    )
    heat = browser.find_element(By.ID, "heat-text").text
    bits = pd.read_csv(run_folder / "bits.csv")
    of_design = bits[bits["design"] == row["design"]]
    for form, count in of_design[of_design["operand"] == "weight"]["format"].value_counts().items():
        assert f"{form} in {count} layers" in heat
    assert "at the peak of a step" in browser.find_element(By.ID, "memory-text").text
    browser.find_element(By.ID, "download").click()
    path = browser.downloads / f"{row['design']}.yaml"
    WebDriverWait(browser, 15).until(lambda b: path.exists())
    command = [sys.executable, "-m", "dse.cli", "evaluate", "--design", str(path), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    printed = json.loads(done.stdout)
    assert f"{row['design']}: latency_s, energy_j, area_mm2 as in the run, to the last of 12 digits" in printed["notes"]
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert printed["total"][0][name] == pytest.approx(row[name], rel=6e-12)
