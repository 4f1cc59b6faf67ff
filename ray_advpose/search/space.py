"""Search spaces: which fields of a config a population explores, within which bounds, and how.

A space is a Python file that sets ``SPACE``; see `search_spaces/`.
"""

from __future__ import annotations

import ast
import math
import re
import runpy
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from ray_advpose.config import Config
from ray_advpose.counter import Purpose, generator
from ray_advpose.errors import UserError, nearest
from ray_advpose.search.domains import AnyDomain, Choice, Domain, LogUniform, Uniform
from ray_advpose.search.scheduling import Exploiting, Halving, MedianStopping, RunAll, Scheduling

_FIXED = ("run.", "stages.")


@dataclass(frozen=True)
class SearchSpace:
    """What a population explores.

    Attributes:
        fields: A domain for each dotted config field. Each trial starts with one value of each.
        trials: How many configurations are tried, unless the command says otherwise; with ``grid``
            None, for all combinations.
        scheduling: What becomes of trials while they train.
        draw: ``latin``: a Latin hypercube, which covers each field evenly; ``random``: independent
            draws; ``grid``: all combinations of choices; ``optuna``: one after the other, by what
            came of those before (needs the package).
    """

    fields: Mapping[str, Domain]
    trials: int | None = None
    scheduling: Scheduling = field(default_factory=Halving)
    draw: Literal["latin", "random", "grid", "optuna"] = "latin"

    @property
    def combinations(self) -> int:
        """How many there are of choices."""
        return math.prod(len(domain.extremes) for domain in self.fields.values())

    def count(self) -> int:
        """Return how many trials there are unless the command says otherwise."""
        if self.draw != "grid":
            return self.trials or 0
        return self.combinations if self.trials is None else min(self.trials, self.combinations)

    def drawn(self, trials: int, seed: int, after: int = 0) -> list[dict[str, Any]]:
        """Draw the trials' overrides; empty if they are not known before the search.

        Args:
            trials: How many; the first ones of a grid.
            seed: Of the draws.
            after: How many have been drawn before, if these are to be added to them; not for grids.
        """
        if self.draw == "optuna":
            return []
        if self.draw == "grid":
            combinations = product(*(domain.extremes for domain in self.fields.values()))
            return [dict(zip(self.fields, values, strict=True)) for values in combinations][:trials]
        rng = generator(seed, Purpose.SEARCH_DRAW, after)
        # Of a Latin hypercube both values of a choice are tried as soon as there are two trials, which
        # independent draws would not promise.
        strata = {name: rng.permutation(trials) for name in self.fields} if self.draw == "latin" else None
        inner = {name: np.asarray(rng.random(trials)) for name in self.fields}
        quantiles = {name: (strata[name] + inner[name]) / trials if strata else inner[name] for name in self.fields}
        return [
            {name: domain.at(float(quantiles[name][trial])) for name, domain in self.fields.items()}
            for trial in range(trials)
        ]

    def checked(self, base: Config, source: str) -> SearchSpace:
        """Return the space after trying every bound of every field on the base config.

        Raises:
            UserError: A field that does not exist, a bound that the field does not allow, or settings
                that do not go together.
        """
        if not isinstance(self.fields, Mapping) or not self.fields:
            raise UserError(f"{source}: SPACE.fields = {self.fields!r}: expected a domain for each field")
        if not (self.trials is None or isinstance(self.trials, int)):
            raise UserError(f"{source}: SPACE.trials = {self.trials!r}: expected a number")
        for name, domain in self.fields.items():
            if not isinstance(domain, AnyDomain):
                raise UserError(f"{source}: {name} = {domain!r} is no Choice, Uniform or LogUniform")
            if name.startswith(_FIXED):
                raise UserError(f"{source}: {name} cannot be searched: machines and budget are planned for all trials")
            for value in (*domain.extremes, *_between(domain)):
                base.replaced({name: value}, source)
            if self.draw == "grid" and not isinstance(domain, Choice):
                raise UserError(f"{source}: draw = 'grid' needs a Choice for {name}, not {domain!r}")
        if self.count() < 1:
            raise UserError(f"{source}: SPACE.trials = {self.trials!r}: expected at least 1")
        _check_extra(self.draw == "optuna", "optuna", f"{source}: draw = 'optuna'")
        if isinstance(self.scheduling, Exploiting):
            _check_extra(self.scheduling.explore == "bandit", "sklearn", f"{source}: explore = 'bandit'")
            self._check_exploiting(self.scheduling, source)
        return self

    def _check_exploiting(self, scheduling: Exploiting, source: str) -> None:
        if self.draw == "optuna":
            raise UserError(f"{source}: trials that copy each other all start at once, and draw = 'optuna' does not")
        for name in scheduling.mutate:
            if name not in self.fields:
                raise UserError(f"{source}: mutate names {name!r}, which has no domain{nearest(name, self.fields)}")
            if len(set(self.fields[name].extremes)) < 2:
                raise UserError(f"{source}: mutate names {name}, which has one value only")
        for name, domain in self.fields.items():
            arm_varies = name.endswith((".enabled", ".policy")) and len(set(domain.extremes)) > 1
            if arm_varies or (name == "optim.optimizer" and len(set(domain.extremes)) > 1):
                raise UserError(f"{source}: {name} cannot be searched by trials that copy each other")


def _between(domain: AnyDomain) -> list[float]:
    """Return a value of a range that is no end of it, as a field of whole numbers would not take."""
    return [] if isinstance(domain, Choice) else [domain.at(0.3819660)]


def _check_extra(wanted: bool, package: str, why: str) -> None:
    if wanted and find_spec(package) is None:
        extra = {"optuna": "optuna", "sklearn": "bandit"}[package]
        raise UserError(f"{why} needs a package that is not there: pip install 'ray-advpose[{extra}]'")


def load_space(path: Path, base: Config) -> SearchSpace:
    """Run a search-space file and check what it sets.

    Raises:
        UserError: The file is missing, fails, sets no ``SPACE``, or names an unknown field or a value
            out of bounds; says in which line.
    """
    if not path.is_file():
        raise UserError(f"there is no search space {path}")
    try:
        space = runpy.run_path(str(path)).get("SPACE")
    except Exception as error:
        raise UserError(f"search space {_place_of(error, path)} fails: {_what_failed(error)}") from error
    if not isinstance(space, SearchSpace):
        raise UserError(f"search space {path} sets no SPACE = SearchSpace(...), but {type(space).__name__}")
    lines = _lines_of_names(path)
    for name in space.fields if isinstance(space.fields, Mapping) else ():
        if name not in base.flat():
            raise UserError(f"{path}:{lines.get(name, 1)}: there is no field {name!r}{nearest(name, base.flat())}")
    try:
        return _of_right_types(space, str(path)).checked(base, str(path))
    except UserError as error:
        # What is wrong is named before what may have been meant.
        wrong = str(error).partition("(did you mean")[0]
        named = [name for name in lines if "." in name and re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", wrong)]
        line = f":{lines[max(named, key=len)]}" if named else ""
        raise UserError(str(error).replace(str(path), f"{path}{line}", 1)) from None


def _of_right_types(space: SearchSpace, source: str) -> SearchSpace:
    """Return the space as it will be stored and read back; `UserError` for what it may not say."""
    adapter = TypeAdapter(SearchSpace)
    try:
        with warnings.catch_warnings(action="ignore"):
            stored = adapter.dump_json(space)
        return adapter.validate_json(stored)
    except (ValidationError, PydanticSerializationError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{source}: SPACE.{where} = {first['input']!r}: {first['msg'].lower()}") from None
        raise UserError(f"{source}: SPACE cannot be stored: {error}") from None


def _lines_of_names(path: Path) -> dict[str, int]:
    """Return the first line of each text in a Python file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {str(node.value): node.lineno for node in sorted(texts, key=lambda node: -node.lineno)}


def _place_of(error: Exception, path: Path) -> str:
    """Return the file and the line that an error comes from, as far as the file itself is concerned."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _what_failed(error: Exception) -> str:
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    classes = (SearchSpace, RunAll, Halving, MedianStopping, Exploiting, Choice, Uniform, LogUniform)
    hint = nearest(unknown[1], {each.name for kind in classes for each in fields(kind)}) if unknown else ""
    return f"{type(error).__name__}: {error}{hint}"
