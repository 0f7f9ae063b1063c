"""The page in a real browser: Chromium driven by selenium where both are found, skipped elsewhere."""

import base64
import json
import re
import shutil

import pytest

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from dse.report import compare_runs, write_report  # noqa: E402
from dse.report.design_text import design_text  # noqa: E402
from dse.report.run.data import read_run  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "window-size=1400,1000", "enable-unsafe-swiftshader", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    folder = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = folder
    yield driver
    driver.quit()


def opened(browser, path):
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.ready") == "1")
    return browser


def asked(browser):
    """Addresses requested since the page was opened, without the page itself and what it holds inline."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [url for url in found if not url.startswith(("data:", "blob:", "file:"))]


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def rows(browser):
    text = browser.find_element(By.ID, "status").text
    return int(text.split()[0])


@pytest.fixture
def page(browser, run_folder):
    return opened(browser, write_report(run_folder))


def test_no_error_no_request_and_every_axis_of_values_has_a_title(page):
    titles = page.execute_script(
        "return [['scatter', 'xaxis'], ['scatter', 'yaxis'], ['energy', 'xaxis'], ['time', 'xaxis'], ['roof', 'xaxis'], ['roof', 'yaxis']]"
        ".map(([id, axis]) => document.getElementById(id).layout[axis].title.text)"
    )
    assert titles[:2] == ["Latency per training step of 256 samples", "Energy per training step of 256 samples"]
    assert all(titles)
    ticks = page.execute_script("return [...document.querySelectorAll('#scatter .xtick text')].map(t => t.textContent)")
    assert ticks
    assert all(tick.endswith("s") for tick in ticks)     # the unit with its prefix stands at the ticks
    assert len(page.find_elements(By.CSS_SELECTOR, "#parallel .axis-title")) >= 8
    assert errors(page) == []
    assert asked(page) == []


def test_lasso_filters_parallel_coordinates_and_table(page):
    page.find_element(By.ID, "lasso").click()
    box = page.find_element(By.CSS_SELECTOR, "#scatter .nsewdrag")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    width, height = box.size["width"], box.size["height"]
    drag = ActionChains(page, duration=30)
    drag.move_to_element_with_offset(box, int(-width / 2) + 5, int(-height / 2) + 5).click_and_hold()
    for x, y in ((width * 0.4, 0), (0, height - 12), (-width * 0.4, 0), (0, -(height - 14))):
        for _ in range(6):
            drag.move_by_offset(int(x / 6), int(y / 6))
    drag.release().perform()
    WebDriverWait(page, 10).until(lambda b: "selected" in b.find_element(By.ID, "status").text)
    lines = page.execute_script("return document.getElementById('parallel').data[0].dimensions[0].values.length")
    assert 0 < lines < 300
    assert lines == rows(page)
    page.find_element(By.ID, "clear").click()
    assert page.execute_script("return document.getElementById('parallel').data[0].dimensions[0].values.length") == 300
    assert errors(page) == []


def test_brush_of_an_axis_marks_the_scatter(page):
    page.execute_script("return Plotly.restyle('parallel', {'dimensions[0].constraintrange': [[0.05, 0.1]]}, [0])")
    WebDriverWait(page, 10).until(lambda b: "selected" in b.find_element(By.ID, "status").text)
    marked = page.execute_script(
        "return document.getElementById('scatter').data.find(t => t.name === 'front').selectedpoints.length"
    )
    assert 0 < marked < 300
    assert marked == rows(page)


def test_a_brush_drawn_with_the_mouse_marks_the_scatter(page):
    axis = page.find_elements(By.CSS_SELECTOR, "#parallel .axis-brush rect.background")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", axis)
    height = axis.size["height"]
    moves = ActionChains(page, duration=30).move_to_element_with_offset(axis, 0, int(-height * 0.1)).click_and_hold()
    for _ in range(5):
        moves.move_by_offset(0, int(height * 0.06))
    moves.release().perform()
    WebDriverWait(page, 10).until(lambda b: "selected" in b.find_element(By.ID, "status").text)
    assert 0 < rows(page) < 300


def test_a_window_that_gets_narrow_and_wide_again_keeps_its_plot(page):
    room = "return document.getElementById('scatter')._fullLayout._size.w"
    before = page.execute_script(room)
    try:
        for width, is_drawn in ((420, lambda b: b.execute_script(room) < 0.9 * before), (1400, lambda b: b.execute_script(room) > 0.9 * before)):
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
            WebDriverWait(page, 30).until(is_drawn)
        assert page.execute_script(room) == pytest.approx(before, rel=0.02)
        assert len(page.find_elements(By.CSS_SELECTOR, "#scatter .colorbar")) == 1
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_click_changes_the_bit_map(page):
    before = page.find_element(By.ID, "heat-text").text
    knee = page.find_element(By.ID, "chosen").get_attribute("value")
    point = page.find_elements(By.CSS_SELECTOR, "#scatter .scatterlayer .trace:first-child .points path")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(page).move_to_element(point).perform()
    WebDriverWait(page, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#scatter .hoverlayer .hovertext"))
    ActionChains(page).click().perform()
    WebDriverWait(page, 30).until(lambda b: b.find_element(By.ID, "chosen").get_attribute("value") != knee)
    assert page.find_element(By.ID, "heat-text").text != before


def test_download_gives_the_design_file(page, run_folder):
    page.find_element(By.CSS_SELECTOR, "#table [data-save]").click()
    path = page.downloads / "d00000.yaml"
    WebDriverWait(page, 15).until(lambda b: path.exists())
    assert path.read_text() == design_text(read_run(run_folder), "d00000")


def test_sorting_the_table(page):
    first = "#table tbody tr:first-child button[data-open]"
    page.find_element(By.CSS_SELECTOR, "[data-sort=energy_j]").click()
    assert page.find_element(By.CSS_SELECTOR, first).text == "d00299"
    page.find_element(By.CSS_SELECTOR, "[data-sort=energy_j]").click()
    assert page.find_element(By.CSS_SELECTOR, first).text == "d00000"


def test_twenty_thousand_designs(browser, build_run, tmp_path):
    page = opened(browser, write_report(build_run(tmp_path / "many", front=60, kept=20_000)))
    page.find_element(By.ID, "all").click()
    counts = page.execute_script("return document.getElementById('scatter').data.map(t => [t.type, t.x.length])")
    assert ["scattergl", 19_940] in counts
    assert errors(page) == []


@pytest.mark.parametrize(("front", "kept"), [(1, 1), (0, 50), (0, 0)])
def test_few_or_no_designs(browser, build_run, tmp_path, front, kept):
    folder = build_run(tmp_path / "few", front=front, kept=kept)
    page = browser
    page.get_log("browser")
    page.get(write_report(folder).as_uri())
    assert page.find_element(By.TAG_NAME, "h1").text == "imagenet_resnet on flex_trainer"
    assert errors(page) == []


def test_a_comparison(browser, build_run, tmp_path):
    one, two = build_run(tmp_path / "one", front=30, kept=30), build_run(tmp_path / "two", front=40, kept=40, seed=1)
    page = opened(browser, compare_runs([one, two]).page)
    assert len(page.find_elements(By.CSS_SELECTOR, "#figures .js-plotly-plot")) == 3
    assert errors(page) == []
    assert asked(page) == []


def test_prints_to_at_most_six_pages_and_comes_back(page):
    wide = page.execute_script("return document.querySelector('#heat .main-svg').clientWidth")
    printed = base64.b64decode(page.print_page())
    assert printed[:5] == b"%PDF-"
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
    assert page.execute_script("return document.querySelector('#heat .main-svg').clientWidth") == wide
