"""The names around a page, as params.yaml has them: titles, stand-ins, the order of methods."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict


class Context(BaseModel):
    """The names of one scale; it may have a stand-in where a spec says `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: str
    datasets: dict[str, str]  # name -> title
    methods: dict[str, str]  # name -> title
    source_networks: dict[str, str] = {}  # name -> title
    stand_ins: dict[str, str] = {}  # dataset or source network -> what this scale has in its place
    drawn: list[str] = []  # datasets of drawn archives, and source networks trained on them

    # experiment/dataset/method (before it "measure/" for what is timed): how this scale isn't the
    # paper's there, in every setting that differs; only of what the page shows
    differences: dict[str, str] = {}

    def differs(self, *names: str) -> str:
        """In which settings a cell, or what is timed, isn't the paper's; empty if in none."""
        return self.differences.get("/".join(names), "")

    def used(self, name: str) -> str:
        """The dataset, or the source network, that this scale uses where a spec says `name`."""
        return self.stand_ins.get(name, name)

    def dataset_title(self, dataset: str) -> str:
        """The name of a dataset for readers."""
        return self.datasets.get(dataset, dataset)

    def source_title(self, network: str) -> str:
        """The name of a source network for readers."""
        return self.source_networks.get(network, network)

    def titles(self, datasets: Iterable[str]) -> str:
        """The names of what this scale has in the place of `datasets`, each once."""
        return ", ".join(dict.fromkeys(self.dataset_title(self.used(d)) for d in datasets))

    # Below `datasets` are as a spec says them, and `sources` the source networks that were used.

    def stand_in(self, datasets: Iterable[str], sources: Iterable[str] = ()) -> bool:
        """Whether any data here are drawn, or any source network was trained on such data.

        Real data in another packing, though they take a dataset's place, are no stand-in.
        """
        return not {*map(self.used, datasets), *sources}.isdisjoint(self.drawn)

    def origin(self, datasets: Iterable[str], sources: Iterable[str] = ()) -> str:
        """The line that every page carries: scale, data, source networks, as really used."""
        data = _listed(self.dataset_title(self.used(d)) for d in datasets)
        networks = _listed(map(self.source_title, sources))
        return f"scale: {self.scale}; data: {data}" + (f"; source: {networks}" * bool(networks))

    def badge(self, datasets: Iterable[str], sources: Iterable[str] = ()) -> str:
        """Why a page isn't the paper's; "" if it is."""
        if self.stand_in(datasets, sources):
            return "Stand-in data, not a reproduction of the paper"
        return "" if self.scale == "paper" else "Not a reproduction of the paper"

    def provenance(self, datasets: Sequence[str], sources: Sequence[str] = ()) -> str:
        """Both in one line."""
        line, badge = self.origin(datasets, sources), self.badge(datasets, sources)
        return f"{line}; this is not a reproduction of the paper" if badge else line


def short(title: str) -> str:
    """A title without what it stands in for."""
    return title.partition(" (stand-in, not ")[0]


def _listed(titles: Iterable[str]) -> str:
    """Each title once, of stand-ins of one name: "Drawn photographs (stand-in, not A, not B)"."""
    found: dict[str, list[str]] = {}
    for title in dict.fromkeys(titles):
        stands_for = title.removeprefix(short(title)).removeprefix(" (").removesuffix(")")
        found.setdefault(short(title), []).append(stands_for)
    texts = []
    for name, ends in found.items():
        named = [ends[0], *(end.removeprefix("stand-in, ") for end in ends[1:])]
        texts.append(f"{name} ({', '.join(named)})" if named[0] else name)
    return ", ".join(texts)
