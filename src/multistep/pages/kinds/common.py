"""What all kinds of tables and figures have in common."""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from multistep.settings import Model

PLACEHOLDERS = ("data",)  # of captions: the titles of the datasets that are really shown


class Wants(NamedTuple):
    """What a page shows, in names of params.yaml: a scale may have stand-ins for the datasets."""

    cells: Collection[tuple[str, str, str]] = ()  # (experiment, dataset, method), every seed
    measured: Collection[tuple[str, str]] = ()  # (experiment, dataset)
    prepared: Collection[str] = ()  # datasets

    @property
    def datasets(self) -> list[str]:
        """Every dataset once, in the page's order."""
        cells = [dataset for _, dataset, _ in self.cells]
        return list(dict.fromkeys([*cells, *(d for _, d in self.measured), *self.prepared]))


class Names(NamedTuple):
    """Names under a key of a page; `known` is None where they belong to a part of params.yaml."""

    key: str
    names: Iterable[str]
    what: str  # dataset, method, experiment or source network, or a part of the page itself
    known: Collection[str] | None = None


def _placeholders(caption: str) -> str:
    """The caption, if it can be filled in; a lone brace raises ValueError too."""
    for _, name, _, _ in string.Formatter().parse(caption):
        if name is not None and name not in PLACEHOLDERS:
            raise ValueError(f"unknown placeholder {{{name}}}; known: {{data}}")
    return caption


Caption = Annotated[str, AfterValidator(_placeholders)]
Number = Annotated[list[float], Field(min_length=2, max_length=2)]  # [value, its ±], as printed


class Entry(Model):
    """An entry of `tables:` or `figures:`. `beyond`: the paper has no such page."""

    title: str
    caption: Caption
    notes: list[str] = []
    beyond: bool = False

    @property
    def remark(self) -> str:
        """What the caption ends with on a page that the paper doesn't have."""
        said = "beyond the paper" in self.title.lower()
        return ". Not in the paper." if self.beyond and not said else ""

    def wants(self) -> Wants:
        """The results that the page shows."""
        raise NotImplementedError

    def names(self) -> list[Names]:
        """All names that the page uses, to be checked."""
        raise NotImplementedError
