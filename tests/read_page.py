"""What a person sees of a report in a browser, and what holds for every report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from selenium.webdriver import Chrome

WIDTHS_PX = (390, 1280)
LEAST_CONTRAST = 4.5

_READ = """
const text = (element) => element ? element.innerText.trim() : "";
const all = (selector, read, root = document) => [...root.querySelectorAll(selector)].map(read);
return {
  title: document.title,
  headings: all("h1, h2, h3, h4, h5, h6", text),
  levels: all("h1, h2, h3, h4, h5, h6", (h) => Number(h.tagName[1])),
  paragraphs: all("p", text),
  facts: all("dt", (dt) => [text(dt), text(dt.nextElementSibling)]),
  contents: all("nav a", (a) => [text(a), document.querySelector(a.getAttribute("href"))?.innerText.trim()]),
  tables: all("table", (table) => all("tr", (row) => all("th, td", text, row), table)),
  pictures: all("img", (img) => ({
    alt: img.alt,
    caption: text(img.closest("figure")?.querySelector("figcaption")),
    natural_px: [img.naturalWidth, img.naturalHeight],
    given_px: [Number(img.getAttribute("width")), Number(img.getAttribute("height"))],
  })),
  codes: all("pre", (pre) => pre.textContent),
};
"""
_SIDEWAYS = """
const width = document.documentElement.clientWidth;
return {
  window_px: window.innerWidth,
  width_px: width,
  scroll_px: document.documentElement.scrollWidth,
  outside: [...document.querySelectorAll("body *")].filter(
    (element) => element.getBoundingClientRect().right > width + 1 && !element.parentElement.closest(".scroll, pre")
  ).map((element) => element.outerHTML.slice(0, 80)),
};
"""
_COLORS = """
const found = new Map();
for (const element of document.querySelectorAll("body, body *")) {
  const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!own.length || !element.checkVisibility() || element.matches("script")) continue;
  let below = element;
  while (below && getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") below = below.parentElement;
  const colors = [getComputedStyle(element).color, below ? getComputedStyle(below).backgroundColor : "white"];
  found.set([element.tagName, ...colors].join(), [element.tagName, own[0].data.trim().slice(0, 40), ...colors]);
}
return [...found.values()];
"""


@dataclass(frozen=True)
class SeenPicture:
    """A picture as the browser shows it; sizes are width and height."""

    alt: str
    caption: str
    natural_px: list[int]
    given_px: list[int]


@dataclass(frozen=True)
class Seen:
    """A report as a reader sees it.

    Attributes:
        title: Of the window.
        headings: Texts, in order.
        levels: Theirs, from 1.
        paragraphs: Texts.
        facts: Names and values.
        contents: Text of each link in the contents and of what it leads to.
        tables: Cells of each table by rows, the header's first.
        pictures: In order.
        codes: Texts to copy.
    """

    title: str
    headings: list[str]
    levels: list[int]
    paragraphs: list[str]
    facts: list[list[str]]
    contents: list[list[str]]
    tables: list[list[list[str]]]
    pictures: list[SeenPicture]
    codes: list[str]

    @property
    def cells(self) -> list[str]:
        """The cells of all tables."""
        return [cell for table in self.tables for row in table for cell in row]


def seen_in(browser: Chrome, path: Path) -> Seen:
    """Open a report and return what is seen.

    Asserts what holds for every report: nothing in the browser's log; headings in order under one first; every
    picture is there, has words for who cannot see it, and room that is kept for it; links of the contents lead to
    their sections; no scrolling sideways on a phone or a desktop; text that stands out, in light and in dark.
    """
    browser.get_log("browser")
    show(browser, path, WIDTHS_PX[-1])
    browser.execute_async_script(
        "Promise.allSettled([...document.images].map((img) => img.decode())).then(() => arguments[0]());"
    )
    read = browser.execute_script(_READ)
    seen = Seen(**{**read, "pictures": [SeenPicture(**picture) for picture in read["pictures"]]})
    assert seen.levels.count(1) == 1
    assert seen.levels[0] == 1
    assert all(below <= above + 1 for above, below in pairwise(seen.levels)), seen
    assert all(seen.headings), seen.headings
    assert all(text == target for text, target in seen.contents), seen.contents
    for picture in seen.pictures:
        (width, height), (given_width, given_height) = picture.natural_px, picture.given_px
        assert width > 0, f"not shown: {picture}"
        assert abs(given_width / given_height - width / height) < 0.05 * width / height, picture
        assert picture.alt, picture
    for width_px in WIDTHS_PX:
        show(browser, path, width_px)
        sideways = browser.execute_script(_SIDEWAYS)
        assert sideways["window_px"] == width_px
        assert sideways["scroll_px"] <= sideways["width_px"], sideways
    for scheme in ("light", "dark"):
        show(browser, path, WIDTHS_PX[-1], scheme)
        for tag, text, color, ground in browser.execute_script(_COLORS):
            assert contrast(color, ground) >= LEAST_CONTRAST, f"{scheme}: {tag} {text!r}, {color} on {ground}"
    assert browser.get_log("browser") == []
    return seen


def show(browser: Chrome, path: Path, width_px: int, scheme: str = "light") -> None:
    """Open a file in a window of some width, as a phone would if it is narrow."""
    metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.resolve().as_uri())


def contrast(color: str, ground: str) -> float:
    """Return the contrast of two opaque colours as WCAG defines it, from 1 to 21."""
    lighter, darker = sorted((_luminance(color), _luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    if color == "white":
        return 1.0
    channels = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color)
    assert channels, f"no opaque colour: {color}"
    shares = [int(channel) / 255 for channel in channels.groups()]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
