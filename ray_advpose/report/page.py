"""A page of results: one record, written as one HTML file that needs nothing else, and as Markdown with pictures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape

from ray_advpose.report.ranking import markdown_table

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "report_files"
_WIDE_PX = 1000
"""Pictures wider than this get a row of their own."""
_DENSITY = 2
"""Charts have so many pixels for each that a page gives them."""
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?( ?%| ?\[.*\])?|-")


@dataclass(frozen=True)
class Paragraph:
    """Plain text; what is between backticks is code."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells of plain text; rows are as long as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A chart or photograph.

    Attributes:
        name: Unique on its page, fit for a file's name.
        image: The file's content.
        kind: Its format.
        caption: Below it.
        alt: What it shows, in words, for those who cannot see it.
    """

    name: str
    image: bytes
    kind: Literal["png", "jpg"]
    caption: str
    alt: str

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        pixels = cv2.imdecode(np.frombuffer(self.image, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None, f"{self.name} is no picture"
        return pixels.shape[1], pixels.shape[0]

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}.{self.kind}"


@dataclass(frozen=True)
class Code:
    """Text to copy, such as a config."""

    caption: str
    text: str


Block = Paragraph | Table | Picture | Code


@dataclass(frozen=True)
class Section:
    """Part of a page under a heading, which is unique on the page."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its heading.
        summary: Sentences below it.
        facts: Names and values below those.
        sections: In order.
    """

    title: str
    summary: Sequence[str]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    def __post_init__(self) -> None:
        names = [picture.name for picture in self.pictures()]
        titles = [section.title for section in self.sections]
        assert len(set(names)) == len(names), f"pictures of one name: {names}"
        assert len(set(titles)) == len(titles), f"sections of one title: {titles}"

    def pictures(self) -> Iterator[Picture]:
        """Yield the page's pictures in order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Picture):
                    yield block


def html(page: Page) -> str:
    """Return the page as HTML that refers to nothing outside of itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ray_advpose.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"with_code": _with_code, "anchor": _anchor, "data_uri": _data_uri}
    environment.globals |= {"is_numeric": _is_numeric, "shown_px": _shown_px}
    sections = [(section.title, list(_grouped(section.blocks))) for section in page.sections]
    return environment.get_template("report.html.j2").render(page=page, sections=sections)


def markdown(page: Page, pictures: str) -> str:
    """Return the page as GitHub's Markdown.

    Args:
        page: What to write.
        pictures: Folder of its pictures, relative to the file.
    """
    parts = [f"# {_escaped(page.title)}", *map(_prose, page.summary)]
    parts.append("\n".join(f"* {_escaped(name)}: {_escaped(value)}" for name, value in page.facts))
    for section in page.sections:
        parts.append(f"## {_escaped(section.title)}")
        for block in section.blocks:
            match block:
                case Paragraph():
                    parts.append(_prose(block.text))
                case Table():
                    cells = [[_escaped(cell) or " " for cell in row] for row in block.rows]
                    parts.append(markdown_table([_escaped(name) for name in block.header], cells).rstrip())
                    parts.append(_prose(block.caption))
                case Picture():
                    parts.append(f"![{_escaped(block.alt)}]({pictures}/{block.file})\n\n*{_escaped(block.caption)}*")
                case Code():
                    fence = _fence(block.text)
                    parts.append(f"{_prose(block.caption)}\n\n{fence}\n{block.text.rstrip()}\n{fence}")
    return "\n\n".join(part for part in parts if part) + "\n"


def write_page(page: Page, folder: Path) -> list[Path]:
    """Write ``report.html``, and ``report.md`` with its pictures in ``report_files/``; each file appears whole.

    Args:
        page: What to write.
        folder: Made if needed; an earlier report in it is replaced, with its pictures.

    Returns:
        The two files.
    """
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for picture in page.pictures():
        _write(pictures / picture.file, picture.image)
    _write(folder / MARKDOWN, markdown(page, PICTURES).encode())
    _write(folder / HTML, html(page).encode())
    wanted = {picture.file for picture in page.pictures()}
    for path in pictures.iterdir():
        if path.name not in wanted:
            path.unlink()
    return [folder / HTML, folder / MARKDOWN]


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _grouped(blocks: Sequence[Block]) -> Iterator[tuple[str, list[Block]]]:
    """Yield blocks with their kind; pictures that follow each other stand side by side if they are narrow."""

    def kind(block: Block) -> str:
        if isinstance(block, Picture):
            return "wide" if block.size_px[0] > _WIDE_PX else "gallery"
        return type(block).__name__.lower()

    for name, group in groupby(blocks, key=kind):
        together = list(group)
        if name == "gallery":
            yield name, together
        else:
            yield from ((name, [block]) for block in together)


def _shown_px(picture: Picture) -> tuple[int, int]:
    width, height = picture.size_px
    density = _DENSITY if picture.kind == "png" else 1
    return width // density, height // density


def _is_numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows if row[column]]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _with_code(text: str) -> Markup:
    parts = str(escape(text)).split("`")
    # An odd backtick at the end opens nothing.
    closed = len(parts) if len(parts) % 2 else len(parts) - 1
    marked = [f"<code>{part}</code>" if place % 2 and place < closed else part for place, part in enumerate(parts)]
    return Markup("".join(marked))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _data_uri(picture: Picture) -> str:
    kind = {"png": "image/png", "jpg": "image/jpeg"}[picture.kind]
    return f"data:{kind};base64,{base64.b64encode(picture.image).decode()}"


def _escaped(text: Any) -> str:
    """Return text that GitHub's Markdown shows as it is, in a cell too."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(str(text).split()))


def _prose(text: str) -> str:
    """As `_escaped`, but what is between backticks stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(f"`{part}`" if place % 2 else _spaced(part) for place, part in enumerate(parts))


def _spaced(part: str) -> str:
    left = " " if part[:1].isspace() else ""
    right = " " if part[-1:].isspace() else ""
    return f"{left}{_escaped(part)}{right}" if part.strip() else part


def _fence(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
