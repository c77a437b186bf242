"""What jobs are given of datasets and their archives, typed, frozen, unknown keys refused.

Nothing here imports torch: it is read inside Snakemake.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

from multistep.settings import LARGEST, Model, Once, Title

Part = Literal["train", "validation", "test"]
PARTS: tuple[str, ...] = get_args(Part)
Url = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]+/|file:///)\S*$")]
Side = Annotated[int, Field(ge=8, le=4096)]  # pixels
UNREAD = (".xz", ".txz", ".bz2", ".tbz2", ".zst", ".tzst", ".lz4", ".7z", ".rar")


def _read(name: str) -> str:
    if name.lower().endswith(UNREAD):
        raise ValueError("not unpacked here; pack what is in it anew, as zip or tar.gz")
    return name


FileName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*$"), AfterValidator(_read)
]


class Archive(Model):
    urls: Annotated[list[Url], Once] = []
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(default=None, ge=1)
    contents: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    sha1: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")  # where only that is known
    unverified: bool = False  # no digest was published: what first arrives is printed and recorded
    drawn: dict[str, Any] | None = None  # the stand-in's settings, if it is one

    @property
    def pinned(self) -> bool:
        """Whether a digest of it is known."""
        return bool(self.sha256 or self.sha1 or self.contents)

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
    title: Title
    classes: int = Field(ge=2)
    images_per_class: int | None = Field(default=None, ge=1)
    images: dict[Part, Annotated[int, Field(ge=1, le=LARGEST)]] | None = None
    archives: dict[FileName, Archive] = Field(min_length=1)
    prepare: dict[str, Any]

    def decisive(self) -> dict[str, Any]:
        """What decides the prepared bytes, besides the archives: not its title, nor addresses."""
        settings = self.model_dump(exclude={"title", "archives"}, exclude_defaults=True)
        return settings | {"archives": sorted(self.archives)}
