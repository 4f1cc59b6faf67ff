"""A search as it is laid down in its folder, so that it can be taken up again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ray_advpose.config import Config, config_from_dict
from ray_advpose.errors import UserError
from ray_advpose.search.scheduling import Exploiting
from ray_advpose.search.space import SearchSpace

_SEARCH = "search.json"


@dataclass(frozen=True)
class Search:
    """All that decides what a search does; stored with it, so that it can be taken up again.

    Attributes:
        base: The config that trials override, as ``model_dump()``.
        data: Absolute path of the prepared data.
        fingerprint: Of the data.
        score_name: What trials are ranked by, e.g. ``PCK@0.2``.
        space: What is searched, and what becomes of trials while they train.
        trials: How many.
        overrides: One mapping of dotted fields to values a trial; empty if they are found on the way.
        labels: What each trial is called, where it is more than one draw among many; else empty.
        software: Versions of what computes, and of this code.
        train_images: How many images are trained on.
        allowed: Names of what differs by now from what it was started with, as `--allow-change` had them.
    """

    base: dict[str, Any]
    data: str
    fingerprint: str
    score_name: str
    space: SearchSpace
    trials: int
    overrides: list[dict[str, Any]]
    labels: list[str] = field(default_factory=list)
    software: dict[str, str] = field(default_factory=dict)
    train_images: int = 0
    allowed: list[str] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """The base config."""
        return config_from_dict(self.base, _SEARCH)

    @property
    def digest(self) -> str:
        """Name of this search, the same for the same one; whatever software runs it."""
        content = _ADAPTER.dump_json(replace(self, software={}, data="", allowed=[]))
        return hashlib.sha256(content).hexdigest()[:8]

    def space_as_dict(self) -> dict[str, Any]:
        """Return the space as plain values, one entry for each thing that it says."""
        content: dict[str, Any] = _SPACE_ADAPTER.dump_python(self.space, mode="json")
        fields, scheduling = content.pop("fields"), content.pop("scheduling")
        content.pop("trials")
        return {
            **content,
            **{f"fields.{name}": domain for name, domain in fields.items()},
            **{f"scheduling.{name}": value for name, value in scheduling.items()},
        }

    @property
    def every_joint_epochs(self) -> int:
        """Epochs of stage 3 between two moments at which trials may copy each other."""
        assert isinstance(self.space.scheduling, Exploiting)
        return self.space.scheduling.every_joint_epochs


_ADAPTER = TypeAdapter(Search)
_SPACE_ADAPTER = TypeAdapter(SearchSpace)


def read_search(output: Path) -> Search:
    """Read what a search was started with; `UserError` if there is none in the folder."""
    path = output / _SEARCH
    try:
        return _ADAPTER.validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}, found {first['input']!r:.80}"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(f"{output} holds no search to resume: cannot read {path}: {reason}")


def write_search(search: Search, output: Path) -> None:
    """Store a search in its folder."""
    partial = output / f".{_SEARCH}.partial"
    partial.write_bytes(_ADAPTER.dump_json(search, indent=1))
    partial.replace(output / _SEARCH)


def has_search(output: Path) -> bool:
    """Whether a search was started in a folder."""
    return (output / _SEARCH).is_file()
