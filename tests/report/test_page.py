from __future__ import annotations

import re
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import ray_advpose
from ray_advpose.report import page as page_module
from ray_advpose.report.page import Code, Page, Paragraph, Picture, Section, Table, html, markdown, write_page

# All that can be in a file, and often what means something to Markdown or HTML.
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc"])
TEXTS = st.text(CHARACTERS) | st.text("ab1_*`~|\\<>[]()!#&;:=+-.$ \n\"'")
GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def image(kind="png", width=20, height=10):
    return bytes(cv2.imencode(f".{kind}", np.full((height, width, 3), 200, np.uint8))[1])


def picture(name="curve", kind="png", width=20, height=10):
    return Picture(name, image(kind, width, height), kind, "A caption.", "A flat line")


def page_of(*blocks, title="Search"):
    return Page(title, ["It is running."], [("data", "drawn")], [Section("Results", blocks)])


def joined(text):
    """Text without its spaces, which HTML and Markdown may take away."""
    return "".join(text.split())


class Reader(HTMLParser):
    """Collects the texts of elements, and which tags there are."""

    def __init__(self, text, *tags):
        super().__init__()
        self.tags, self.texts = set(), []
        self._wanted, self._inside = tags, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in self._wanted:
            self._inside = True
            self.texts.append("")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in self._wanted

    def handle_data(self, data):
        if self._inside:
            self.texts[-1] += data


def read_markdown(text):
    """Return (kind of block, text) of a page's blocks below its first section; code is text like any other."""
    inline = [(before.tag, token) for before, token in pairwise(GITHUB.parse(text)) if token.type == "inline"]
    below = inline[[tag for tag, _ in inline].index("h2") + 1 :]
    return [(tag, read_inline(token)) for tag, token in below]


def read_inline(token):
    assert {child.type for child in token.children} <= {"text", "code_inline"}, token.content
    return "".join(child.content for child in token.children)


def test_markup_in_text_is_text():
    hostile = '<script>alert("1")</script>'
    blocks = [Paragraph(hostile), Table([hostile], [[hostile]], hostile), Code(hostile, hostile)]
    pictures = [Picture("a", image(), "png", hostile, f'" onerror="{hostile}')]
    text = html(Page(hostile, [hostile], [(hostile, hostile)], [Section(hostile, [*blocks, *pictures])]))
    assert text.count("<script>") == 1  # the page's own
    assert 'alert("1")' not in text
    assert not re.search(r'[^;]" onerror=', text)


def test_backticks_mark_code():
    block = Paragraph("Train with `launch/train.py --arms <a>`; an ` alone is itself.")
    assert "Train with <code>launch/train.py --arms &lt;a&gt;</code>; an ` alone is itself." in html(page_of(block))
    assert "Train with `launch/train.py --arms <a>`; an \\` alone is itself.\n" in markdown(page_of(block), "files")


def test_columns_of_numbers_are_told_from_others():
    columns = {
        "41.25": True,
        "-0.5": True,
        "70.0 %": True,
        "+2.71 [+0.92, +4.40]": True,
        "(1.00, -2.00)": True,
        "1.5e-4": True,
        "1636/52/1148": True,
        "1:02:33": True,
        "-": False,
        "": False,
        "a1": False,
        "3 of 4": False,
        "[]": False,
        "t_00003": False,
    }
    table = Table(list(columns), [list(columns), ["-"] * len(columns), [""] * len(columns)])
    assert dict(zip(columns, table.numeric, strict=True)) == columns
    assert Table(["a", "b"], [["1", "2"], ["x", "3"]]).numeric == [False, True]
    aligned = html(page_of(Table(["name", "score"], [["a", "1.0"]])))
    assert '<td>a</td><td class="number">1.0</td>' in aligned
    assert '<th scope="col">name</th><th scope="col" class="number">score</th>' in aligned
    assert "| name | score |\n| --- | ---: |\n| a | 1.0 |" in markdown(
        page_of(Table(["name", "score"], [["a", "1.0"]])), "f"
    )


def test_a_header_of_nothing_is_not_shown():
    assert "<thead>" not in html(page_of(Table(["", ""], [["price", "1.0"]])))


def test_a_page_needs_nothing_else():
    text = html(page_of(picture(), picture("b", "jpg"), Code("config", "a: 1")))
    assert not re.search("https?:|@import|url[(]", text)
    sources = re.findall(r"""\b(?:src|href|srcset|action|data)=["']?([^"'>]*)""", text)
    assert {source.partition(",")[0] for source in sources} == {
        "data:",
        "data:image/png;base64",
        "data:image/jpeg;base64",
    }
    assert Reader(text).tags.isdisjoint({"iframe", "object", "embed", "form", "base"})
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'" in text


def test_room_is_kept_for_pictures_and_wide_ones_have_a_row_of_their_own():
    text = html(page_of(picture("a", width=840, height=500), picture("b", width=1300), picture("c", "jpg", width=700)))
    assert re.findall(r'<figure(.*)>\n<img .* (width="\d+" height="\d+")', text) == [
        ("", 'width="420" height="250"'),
        (' class="wide"', 'width="650" height="5"'),
        (' class="wide"', 'width="700" height="10"'),
    ]
    assert text.count('<div class="gallery">') == 1


def test_pictures_with_something_between_are_apart():
    text = html(page_of(picture("a"), Paragraph("between"), picture("b"), picture("c")))
    assert text.count('<div class="gallery">') == 2


def test_contents_are_shown_for_more_than_two_sections():
    def page(*titles):
        return html(Page("Search", [], [], [Section(title, []) for title in titles]))

    assert "<nav" not in page("one", "two")
    text = page("One & two", "one / two", "三")
    assert re.findall(r'<a href="#([^"]*)">([^<]*)</a>', text) == [
        ("one-two", "One &amp; two"),
        ("one-two-again", "one / two"),
        ("section", "三"),
    ]
    assert re.findall(r'<h2 id="([^"]*)">', text) == ["one-two", "one-two-again", "section"]


def test_what_a_page_must_not_hold():
    with pytest.raises(AssertionError, match="pictures of one name"):
        Page("Search", [], [], [Section("a", [picture()]), Section("b", [picture(kind="jpg")])])
    with pytest.raises(AssertionError, match="sections of one title"):
        Page("Search", [], [], [Section("a", []), Section("a", [])])
    with pytest.raises(AssertionError, match="folder in their name"):
        page_of(picture("../curve"))
    with pytest.raises(AssertionError, match="rows shorter or longer"):
        Table(["a", "b"], [["1"]])
    with pytest.raises(AssertionError, match=r"curve.png is no picture"):
        html(page_of(Picture("curve", b"nothing", "png", "", "")))


def test_the_same_as_markdown():
    page = page_of(
        Paragraph("- not a list with `a_b`"),
        Table(["arm"], [["asr|aho"]], "By arm."),
        picture("two words"),
        Code("Config:", "a: `1`\n```\nb: 2\n"),
        title="Search #",
    )
    assert markdown(page, "report_files") == (
        "# Search \\#\n\nIt is running.\n\n- **data**: drawn\n\n## Results\n\n"
        "\\- not a list with `a_b`\n\n"
        "By arm.\n\n| arm |\n| --- |\n| asr\\|aho |\n\n"
        "![A flat line](report_files/two%20words.png)\n\nA caption.\n\n"
        "Config:\n\n````\na: `1`\n```\nb: 2\n````\n"
    )


@given(paragraph=TEXTS, cells=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_markdown_is_read_as_it_was_meant(paragraph, cells):
    page = page_of(Paragraph(f"{paragraph}."), Paragraph(f"1{paragraph}"), Table(["a", "b"], cells))
    first, second, *table = read_markdown(markdown(page, "files"))
    without_marks = [re.sub("`([^`]+)`", r"\1", text) for text in (f"{paragraph}.", f"1{paragraph}")]
    assert [(tag, joined(text)) for tag, text in (first, second)] == [("p", joined(text)) for text in without_marks]
    assert [tag for tag, _ in table] == ["th", "th", *["td"] * (2 * len(cells))]
    assert [joined(text) for _, text in table[2:]] == [joined(cell) for row in cells for cell in row]


@given(text=TEXTS)
def test_a_heading_of_markdown_is_read_as_it_was_meant(text):
    tokens = GITHUB.parse(markdown(Page(f"a{text}", [], [], []), "files"))
    assert [token.type for token in tokens] == ["heading_open", "inline", "heading_close"]
    assert joined(read_inline(tokens[1])) == joined(f"a{text}")


@given(text=TEXTS)
def test_code_of_markdown_is_read_as_it_was_meant(text):
    fences = [token for token in GITHUB.parse(markdown(page_of(Code("", text)), "files")) if token.type == "fence"]
    assert [fence.content.removesuffix("\n") for fence in fences] == [text.removesuffix("\n")]


@given(cells=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_html_is_read_as_it_was_meant(cells):
    assert Reader(html(page_of(Table(["a", "b"], cells))), "td").texts == [cell for row in cells for cell in row]


def test_files_are_written(tmp_path):
    folder = tmp_path / "search" / "report"
    page = page_of(picture("a"), picture("b", "jpg"))
    assert write_page(page, folder) == [folder / "report.html", folder / "report.md"]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"report.html", "report.md", "report_files/a.png", "report_files/b.jpg"}
    assert (folder / "report.html").read_text() == html(page)
    assert (folder / "report.md").read_text() == markdown(page, "report_files")
    assert (folder / "report_files/a.png").read_bytes() == image()


def test_a_later_report_replaces_pictures_and_leaves_other_files(tmp_path):
    write_page(page_of(picture("a"), picture("b", "jpg"), picture("c")), tmp_path)
    (tmp_path / "report_files/notes.txt").touch()
    write_page(page_of(picture("b", "jpg", width=30), picture("c", "jpg")), tmp_path)
    assert sorted(path.name for path in (tmp_path / "report_files").iterdir()) == ["b.jpg", "c.jpg", "notes.txt"]
    assert (tmp_path / "report_files/b.jpg").read_bytes() == image("jpg", width=30)
    write_page(page_of(), tmp_path)
    assert [path.name for path in (tmp_path / "report_files").iterdir()] == ["notes.txt"]


def test_a_report_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    write_page(page_of(picture("a"), title="Before"), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space left"):
        write_page(page_of(picture("a", width=40), title="After"), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_installed_has_the_template():
    package = Path(ray_advpose.__file__).parent
    settings = tomllib.loads((package.parent / "pyproject.toml").read_text())
    installed = {
        path
        for pattern in settings["tool"]["setuptools"]["package-data"]["ray_advpose"]
        for path in package.glob(pattern)
    }
    assert installed == set((Path(page_module.__file__).parent / "templates").iterdir())
