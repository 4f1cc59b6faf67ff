"""A page of results as a reader sees it, in Chromium."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from read_page import contrast, seen_in, show
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from ray_advpose.report.chart_style import LINES, chart, png
from ray_advpose.report.page import Code, Page, Paragraph, Picture, Section, Table, write_page

CONFIG = "net:\n  channels: 96\n  kind: residual   # <two> stacks & `four` poolings\n" + "\n".join(
    f"  option_{number}: {number / 7:.4f}" for number in range(40)
)
RANKED = Table(
    ["rank", "trial", "best PCK@0.2", "before stage 3", "steps in stages 1/2/3", "rewarded ASR", "ending", "settings"],
    [
        [
            str(rank),
            f"t_0000{rank}",
            f"{48 - 1.37 * rank:.2f}",
            "41.08",
            "1636/52/1148",
            f"{60 - rank}.1 %",
            ending,
            settings,
        ]
        for rank, ending, settings in (
            (1, "finished", "alpha=0.25 scale_bins=7 joint_lr=0.00021 max_cells=3 momentum=0.9 entropy_weight=0.01"),
            (2, "stopped early", "alpha=0.5 scale_bins=9"),
            (3, "failed", "a < b | c"),
        )
    ],
    caption="Trials by their best score. `settings` are those that differ.",
)
SCORES = Table(
    ["", "Head", "Shoulder", "Elbow", "Wrist", "mean_joint13", "gain, 95 % interval"],
    [
        ["random", "79.31", "54.02", "39.66", "31.03", "48.17", ""],
        ["asr+aho", "81.61", "56.90", "42.53", "33.91", "50.88", "+2.71 [+0.92, +4.40]"],
        ["paper, ASR and AHO", "97.6", "95.3", "88.7", "84.6", "87.8", "+0.8"],
    ],
)


def line_chart(height_in: float) -> bytes:
    with chart(height_in) as figure:
        axes = figure.subplots()
        for number, line in enumerate(LINES[:3]):
            axes.plot(np.arange(8), 50 - 30 / (1 + np.arange(8) * (1 + number)), label=f"t_0000{number}", **line)
        axes.set_xlabel("thousand steps")
        axes.legend()
        return png(figure)


def photograph(width: int, height: int) -> bytes:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 220, (max(2, height // 48), max(2, width // 48), 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))[1])


def rich_page() -> Page:
    """One of everything, and of what is hard to show: long words, wide tables, markup as text."""
    charts = [
        Picture(
            f"curve_{number}",
            line_chart(2.4 + 0.3 * number),
            "png",
            f"Score of `t_0000{number}` over training.",
            "Lines",
        )
        for number in range(3)
    ]
    return Page(
        title="Search <script>alert(1)</script> on LSPET",
        summary=["It is running: 3 of 8 trials have ended.", "Trial `t_00003` failed; its log is in its folder."],
        facts=[
            ("data", "/a/very/long/path/without/any/place/to/break/it/data/shards/lspet_box192_and_more"),
            ("software", "ray_advpose 0.1.0, ray 2.60.0, torch 2.13.0"),
            ("devices", "one GPU for each of 2 workers"),
        ],
        sections=[
            Section("Ranked trials", [RANKED, *charts[:1]]),
            Section(
                "Scores beside the paper's",
                [
                    Paragraph(
                        "Split val; PCK@0.2: distance <= 0.2 x (left shoulder to right hip), decoder `exact`, flip test"
                        " off. Interval: paired bootstrap over persons and seeds. Paper: Table 1, PCKh@0.5 on MPII"
                        " validation, residual hourglass: other data, and another measure than PCK."
                    ),
                    SCORES,
                    Picture("thresholds", line_chart(3), "png", "Joints found over the distance.", "Rising lines"),
                ],
            ),
            Section("What the augmentation networks learned", charts[1:]),
            Section(
                "Persons that changed most",
                [
                    Picture("changes", photograph(774, 386), "jpg", "More joints found: 3 to 9 of 13.", "Photographs"),
                    Picture("small", photograph(192, 192), "jpg", "One person.", "A photograph"),
                    Picture("all", photograph(1600, 500), "jpg", "Twenty-four persons.", "Many photographs"),
                ],
            ),
            Section("Settings to copy", [Code("Config of the best, for `launch/train.py --config FILE`", CONFIG)]),
            Section("Cost", [Table(["", ""], [["GPU hours", "12.50"], ["price", "25.00"]])]),
        ],
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, _ = write_page(rich_page(), tmp_path_factory.mktemp("a folder, 100 % of it"))
    return path


def boxes(browser, selector):
    """Left and top of elements, width and height, in the page's pixels."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect())"
        ".map((r) => [r.left, r.top + scrollY, r.width, r.height].map(Math.round));",
        selector,
    )


def test_a_reader_sees_all_of_it(browser, report):
    page = rich_page()
    seen = seen_in(browser, report)
    assert seen.title == page.title
    assert seen.headings == [page.title, *(section.title for section in page.sections)]
    assert seen.levels == [1] + [2] * len(page.sections)
    assert [text for text, _ in seen.contents] == [section.title for section in page.sections]
    assert seen.paragraphs[:2] == [sentence.replace("`", "") for sentence in page.summary]
    assert seen.facts == [list(fact) for fact in page.facts]
    assert seen.tables[:2] == [[table.header, *table.rows] for table in (RANKED, SCORES)]
    assert seen.tables[2] == [["GPU hours", "12.50"], ["price", "25.00"]]
    assert [(seen.alt, seen.caption) for seen in seen.pictures] == [
        (picture.alt, picture.caption.replace("`", "")) for picture in page.pictures
    ]
    assert seen.codes == [CONFIG]


def test_charts_stand_side_by_side_where_there_is_room(browser, report):
    show(browser, report, 1280)
    (left, top, width, _), (left_2, top_2, width_2, _) = boxes(browser, "section:nth-of-type(3) img")
    assert (top_2, width_2) == (top, width)
    assert left_2 >= left + width
    assert 400 <= width <= 416
    show(browser, report, 390)
    (left, top, width, height), (left_2, top_2, *_) = boxes(browser, "section:nth-of-type(3) img")
    assert left_2 == left
    assert top_2 > top + height
    assert width == 390 - 2 * left


def test_photographs_are_as_large_as_they_can_be(browser, report):
    show(browser, report, 1280)
    (changes, small, everybody), (room,) = boxes(browser, "section:nth-of-type(4) img"), boxes(browser, "main")
    assert changes[2] >= 774
    assert small[2] < 220
    assert everybody[2] == room[2]


def test_a_wide_table_scrolls_by_itself_and_by_keys(browser, report):
    show(browser, report, 390)
    table = browser.find_element(By.CSS_SELECTOR, ".scroll")
    assert table.get_attribute("aria-label") == RANKED.caption.replace("`", "")
    browser.execute_script("arguments[0].focus()", table)
    table.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script("return arguments[0].scrollLeft", table) > 0)
    assert browser.execute_script("return scrollX") == 0


def test_numbers_are_at_the_right(browser, report):
    show(browser, report, 1280)
    aligned = browser.execute_script(
        "return [...document.querySelectorAll('table')].map((table) => [...table.rows].map((row) =>"
        " [...row.cells].map((cell) => getComputedStyle(cell).textAlign === 'right')))"
    )
    assert aligned[0] == [[True, False, True, True, True, True, False, False]] * 4
    assert aligned[1] == [[False, *[True] * 6]] * 4
    assert aligned[2] == [[False, True]] * 2


def test_a_link_of_the_contents_leads_to_its_section(browser, report):
    show(browser, report, 390)
    browser.find_element(By.LINK_TEXT, "Settings to copy").click()
    (top,) = browser.execute_script("return [document.getElementById('settings-to-copy').getBoundingClientRect().top]")
    assert 0 <= top < 100


@pytest.mark.parametrize("permission", ["granted", "denied"])
def test_the_config_is_copied(browser, report, permission):
    show(browser, report, 1280)
    permissions = [("clipboard-write", permission), ("clipboard-read", "granted")]
    for name, setting in permissions:
        browser.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": name}, "setting": setting})
    if permission == "denied":
        browser.execute_script("navigator.clipboard.writeText = () => Promise.reject(new DOMException('not allowed'))")
    button = browser.find_element(By.CSS_SELECTOR, ".code button")
    button.click()
    WebDriverWait(browser, 10).until(lambda _: button.text == "Copied")
    assert browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == CONFIG
    WebDriverWait(browser, 10).until(lambda _: button.text == "Copy")


def test_a_browser_that_copies_nothing_leaves_the_text_selected(browser, report):
    show(browser, report, 1280)
    browser.execute_script("navigator.clipboard.writeText = undefined; document.execCommand = () => false")
    button = browser.find_element(By.CSS_SELECTOR, ".code button")
    button.click()
    WebDriverWait(browser, 10).until(lambda _: button.text == "Selected, now copy")
    assert browser.execute_script("return getSelection().toString()") == CONFIG


def test_without_scripts_only_the_button_is_missing(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, report, 1280)
        assert browser.find_element(By.CSS_SELECTOR, "h1").text == rich_page().title
        assert not browser.find_element(By.CSS_SELECTOR, ".code button").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "pre").text == CONFIG
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_pictures_have_a_white_card_in_the_dark(browser, report):
    show(browser, report, 1280, "dark")
    colors = "const style = getComputedStyle(document.querySelector(arguments[0])); return style.backgroundColor"
    assert browser.execute_script(colors, "img") == "rgb(255, 255, 255)"
    assert contrast(browser.execute_script(colors, "body"), "rgb(255, 255, 255)") > 15


def test_a_page_without_anything_is_a_page(browser, tmp_path):
    path, _ = write_page(Page("Nothing yet", [], [], []), tmp_path)
    seen = seen_in(browser, path)
    assert seen.headings == ["Nothing yet"]
    assert (seen.contents, seen.cells, seen.pictures) == ([], [], [])


@pytest.mark.parametrize(
    "body",
    [
        "<h1>Wide</h1><div style='width: 500px'>wide</div>",
        "<h1>Pale</h1><p style='color: #999'>pale</p>",
        "<h1>Missing</h1><img src='missing.png' width=2 height=1 alt='missing'>",
        "<h1>Deep</h1><h3>deep</h3>",
        "<h1>Broken</h1><script>missing()</script>",
        "<h1>Lost</h1><nav><a href='#lost'>lost</a></nav>",
        "<p>Without a heading</p>",
    ],
)
def test_a_page_that_is_not_well_made_is_told_from_one_that_is(browser, tmp_path, body):
    path = tmp_path / "report.html"
    path.write_text(
        f"<!doctype html><meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>{body}"
    )
    with pytest.raises(AssertionError):
        seen_in(browser, path)
