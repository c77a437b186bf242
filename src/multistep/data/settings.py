"""What jobs are given of datasets and their archives, typed, frozen, unknown keys refused.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from multistep.settings import Model


class Archive(Model):
    urls: list[str] = []
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = None
    contents: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    sha1: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")  # where only that is known
    unverified: bool = False  # no digest was published: what first arrives is printed and recorded
    drawn: dict[str, Any] | None = None  # the stand-in's settings, if it is one

    @property
    def verifiable(self) -> bool:
        """Whether what arrives can be told from something else."""
        return bool(self.sha256 or self.sha1 or self.unverified)


class Dataset(Model):
    """A loader's name and what it is given. `prepare` is checked by the loader's own `Settings`.

    A dataset of episodes states `images_per_class` (of the smallest class, where they differ), one
    with fixed parts their sizes (`images`).
    """

    loader: str
    title: str
    classes: int = Field(ge=1)
    images_per_class: int | None = Field(default=None, ge=1)
    images: dict[Literal["train", "validation", "test"], int] | None = None
    archives: dict[str, Archive]
    prepare: dict[str, Any]

    def decisive(self) -> dict[str, Any]:
        """What decides the prepared bytes, besides the archives: not its title, nor addresses."""
        settings = self.model_dump(exclude={"title", "archives"}, exclude_defaults=True)
        return settings | {"archives": sorted(self.archives)}
