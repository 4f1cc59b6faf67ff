"""One page of results: a typed record, written as one HTML file that needs nothing else, and as Markdown."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "report_files"

_DENSITY = {"png": 2, "jpg": 1}
"""Pixels of a picture for each of the page's, either way: charts are made for dense screens, photographs are not."""
_WIDE_PX = 600
"""A picture that is shown wider than this, in the page's pixels, has a row of its own."""

_CODE = re.compile(r"`([^`]+)`")
_NUMBERS = re.compile(r"(?=.*\d)(?:\d(?:[eE][-+]?\d+)?|[-+±.,:/%()\[\] ])+")
_EMPTY = ("", "-")

_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_MARKUP = re.compile(
    r"[\\`*~<$]"
    r"|_(?![^\W_])|(?<![^\W_])_"  # within a word it is itself
    r"|](?=[(\[:])"
    r"|&(?=#?\w+;)"
    r"|#(?=#*$)"
)
_BEGINS_BLOCK = re.compile(r"[#>]|[-+](?: |$)|-[- ]*$")


@dataclass(frozen=True)
class Paragraph:
    """Plain text but for `code`, which is marked by backticks; captions and the summary are alike."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells of plain text, as many in each row as in the header; a header of empty cells is not shown."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        assert {*map(len, self.rows)} <= {len(self.header)}, f"rows shorter or longer than {self.header}"

    @property
    def numeric(self) -> list[bool]:
        """For each column whether all its cells that are filled are numbers, intervals or the like."""
        filled = [
            [cell for row in self.rows if (cell := row[column].strip()) not in _EMPTY]
            for column in range(len(self.header))
        ]
        return [bool(cells) and all(map(_NUMBERS.fullmatch, cells)) for cells in filled]


@dataclass(frozen=True)
class Picture:
    """A chart or photographs.

    Attributes:
        name: Its file's name, less the suffix; no other picture of the page has it.
        image: The file.
        kind: ``png`` is a chart with two pixels for each that the page shows, ``jpg`` is shown pixel by pixel.
        caption: Shown below it.
        alt: What it says, in words, for those who cannot see it.
    """

    name: str
    image: bytes
    kind: Literal["png", "jpg"]
    caption: str
    alt: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}.{self.kind}"

    @property
    def shown_px(self) -> tuple[int, int]:
        """Width and height on a page that has room for it, in the page's pixels."""
        pixels = cv2.imdecode(np.frombuffer(self.image, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None, f"{self.file} is no picture"
        height, width = pixels.shape[:2]
        return max(1, width // _DENSITY[self.kind]), max(1, height // _DENSITY[self.kind])


@dataclass(frozen=True)
class Code:
    """Text to copy as it is, such as a config."""

    caption: str
    text: str


Block = Paragraph | Table | Picture | Code


@dataclass(frozen=True)
class Section:
    """What is below one heading; no other section of the page has its title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page of results.

    Attributes:
        title: Its heading.
        summary: Sentences below it.
        facts: Names and values below these.
        sections: The rest.
    """

    title: str
    summary: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    def __post_init__(self) -> None:
        titles = [section.title for section in self.sections]
        assert len(set(titles)) == len(titles), f"sections of one title: {titles}"
        names = [picture.name for picture in self.pictures]
        assert len(set(names)) == len(names), f"pictures of one name: {names}"
        assert all(Path(name).name == name for name in names), f"pictures with a folder in their name: {names}"

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]


def html(page: Page) -> str:
    """Return the page as HTML that loads nothing, from no server and no other file."""
    sections: dict[str, Section] = {}
    for section in page.sections:
        anchor = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        while anchor in sections:
            anchor += "-again"
        sections[anchor] = section
    return _template().render(page=page, sections=sections)


def markdown(page: Page, pictures: str) -> str:
    """Return the page as Markdown, as GitHub reads it.

    Args:
        page: What to write.
        pictures: Folder of its pictures, relative to the file.
    """
    parts = [f"# {_plain(page.title)}", *map(_paragraph, page.summary)]
    parts.append("\n".join(f"- **{_plain(name)}**: {_plain(value)}" for name, value in page.facts))
    for section in page.sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            match block:
                case Paragraph():
                    parts.append(_paragraph(block.text))
                case Table():
                    parts += [_paragraph(block.caption), _table(block)]
                case Picture():
                    link = f"![{_plain(block.alt)}]({quote(f'{pictures}/{block.file}')})"
                    parts += [link, _paragraph(block.caption)]
                case Code():
                    parts += [_paragraph(block.caption), _fenced(block.text)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_page(page: Page, folder: Path) -> list[Path]:
    """Write ``report.html``, and ``report.md`` with its pictures in ``report_files``; each file appears whole.

    Pictures of an earlier report in the folder that are not on the page are removed.

    Args:
        page: What to write.
        folder: Made if it is missing.

    Returns:
        The two files that a person opens: HTML and Markdown.
    """
    pictures = {folder / PICTURES / picture.file: picture.image for picture in page.pictures}
    for path, image in pictures.items():
        _write_whole(path, image)
    _write_whole(folder / MARKDOWN, markdown(page, PICTURES).encode())
    _write_whole(folder / HTML, html(page).encode())
    # Last, so that a page that is being read has its pictures.
    for kind in _DENSITY:
        for path in (folder / PICTURES).glob(f"*.{kind}"):
            if path not in pictures:
                path.unlink(missing_ok=True)
    return [folder / HTML, folder / MARKDOWN]


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process: a report may be asked for while the one before is still being written.
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ray_advpose.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(with_code=_with_code, data_uri=_data_uri, groups=_groups)
    environment.globals.update(wide_px=_WIDE_PX)
    return environment.get_template("report.html.j2")


def _groups(blocks: Sequence[Block]) -> Iterator[tuple[str, Sequence[Block]]]:
    """Yield the blocks by kind; pictures that follow each other are together, all others alone."""
    for kind, group in groupby(blocks, type):
        if kind is Picture:
            yield "gallery", list(group)
        else:
            yield from ((kind.__name__.lower(), [block]) for block in group)


def _with_code(text: str) -> Markup:
    pieces = _CODE.split(text)
    marked = (Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces))
    return Markup().join(marked)


def _data_uri(picture: Picture) -> str:
    mime = {"png": "image/png", "jpg": "image/jpeg"}[picture.kind]
    return f"data:{mime};base64,{base64.b64encode(picture.image).decode()}"


def _plain(text: str) -> str:
    """Return text for within a line of Markdown, where it is read as it is but for its line breaks."""
    return _MARKUP.sub(r"\\\g<0>", _SPACE.sub(" ", text).strip(" "))


def _paragraph(text: str) -> str:
    """Return a paragraph for Markdown, on one line."""
    pieces = _CODE.split(_SPACE.sub(" ", text).strip(" "))
    line = "".join(f"`{piece}`" if at % 2 else _MARKUP.sub(r"\\\g<0>", piece) for at, piece in enumerate(pieces))
    line = re.sub(r"^(\d+)(?=[.)](?: |$))", r"\1\\", line)
    return f"\\{line}" if _BEGINS_BLOCK.match(line) else line


def _table(table: Table) -> str:
    rules = ["---:" if numeric else "---" for numeric in table.numeric]
    lines = [[_cell(cell) for cell in table.header], rules, *([_cell(cell) for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")


def _fenced(text: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.removesuffix(chr(10))}\n{fence}"
