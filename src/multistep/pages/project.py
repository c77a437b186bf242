"""All results, measurements and printed numbers of a project as one frame, and as a file.

Every table and figure can be drawn again from it. It stands apart from what pages are queries on,
since it reads params.yaml, of which a page says only what its own cells are.
"""

import gzip
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multistep.files import UserError, atomic_write, write_beside
from multistep.job import results
from multistep.pages import DataFrame, load, pd, query
from multistep.pages.frame import COLUMNS, QUANTITIES, blocks, joined
from multistep.plan import params

SPREAD = ".spread"  # after a quantity: the ± that is printed beside it


def frame(folder: Path | str = ".", *, episodes: bool = True, history: bool = True) -> DataFrame:
    """Every number of the scales that were run in a project's folder, and of the paper.

    Args:
        folder: the project: params.yaml, workflow/, results/ and evaluations/, also in scales/*/.
        episodes: with the accuracy of each test episode.
        history: with the curves.

    Returns:
        A frame with `COLUMNS`; names are categories, numbers that don't apply are missing. Rows of
        printed numbers first, then results by their path.

    Raises:
        UserError: the folder is no project, or a record isn't as it was written.

    """
    return read(Path(folder), {}, episodes, history)


def read(
    root: Path,
    known: Mapping[str, dict[str, Any]],
    episodes: bool = True,
    history: bool = True,
    of: Collection[Path] | None = None,
) -> DataFrame:
    """The same, where `known` are records that have been read, by their path in the project; `of`:
    the folders of the scales that are wanted, if not all.
    """
    found = _printed(root)
    seen = query.Seen()
    homes = (root, *sorted(root.glob("scales/*")))
    for home in homes if of is None else (home for home in homes if home in of):
        files = [p for part in ("results", "evaluations") for p in (home / part).rglob("*.json")]
        for path in sorted(files):
            if path.relative_to(home).parts[1] != "choices":
                source = path.relative_to(root).as_posix()
                record = results.in_place(path, known.get(source))
                seen.add(record, source)
                found += blocks(record, source, episodes, history)
    return joined(found)


def columns_of(path: Path) -> Path:
    """Where the columns of a frame at `path` are told. Raises UserError for another suffix."""
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UserError(f"{path}: should end in .csv or .csv.gz")
    return path.with_name(path.name.partition(".")[0] + ".md")


def write(path: Path, of: DataFrame) -> None:
    """Write a frame as csv, compressed if its name ends in .gz, and the dictionary of its columns
    and quantities as Markdown beside it; equal frames are equal bytes. Of numbers that aren't whole
    the file has seven digits: more than any of them is known to, and half of what it would take.
    """
    tables = {"column": COLUMNS, "quantity": QUANTITIES}
    lines = [
        "# Every number: columns and quantities",
        "",
        f"Of `{path.name}`: a row is one number, in seven digits if it isn't whole. "
        "`pandas.read_csv(file, low_memory=False)` reads it.",
    ]
    for heading, entries in tables.items():
        lines += ["", f"| {heading} | what it is |", "| :-- | :-- |"]
        lines += [f"| `{name}` | {text} |" for name, text in entries.items()]
    write_beside(columns_of(path), "\n".join(lines) + "\n")
    with atomic_write(path) as file:
        if path.suffix == ".csv":
            file.writelines(_csv(of))
        else:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                packed.writelines(_csv(of))


def _csv(of: DataFrame) -> Iterator[bytes]:
    """What `to_csv` writes, three times as fast: names and counts are made text once each."""

    def texts(column: pd.Series) -> Iterable[str]:
        if column.dtype == float:
            return [f"{x:.0f}" if x.is_integer() else f"{x:.7g}" for x in column.tolist()]
        codes, names = pd.factorize(column)
        quoted = [f'"{name}"' if "," in name else name for name in map(str, names)]
        return np.array([*quoted, ""], object)[codes]  # the last for those that are missing, -1

    yield (",".join(of) + "\n").encode()
    for start in range(0, len(of), 100_000):
        columns = [texts(column) for _, column in of[start : start + 100_000].items()]
        yield "".join(f"{','.join(row)}\n" for row in zip(*columns, strict=True)).encode()


def _printed(root: Path) -> list[dict[str, Any]]:
    """The printed numbers on the pages of the paper's scale."""
    base = params.load(root / "params.yaml")
    forms = load.pages((root / "workflow" / "report").resolve(), base).values()
    return [
        {
            **{key: getattr(q, key) for key in ("source", "experiment", "dataset", "method")},
            "table": table,
            "quantity": [q.quantity] if q.spread is None else [q.quantity, q.quantity + SPREAD],
            "value": [q.value] if q.spread is None else [q.value, q.spread],
        }
        for form in forms
        for table, spec in form.items()
        for q in spec.quotations()
    ]
