"""Files of the plan that Snakemake has no record of: copied in, pulled in part, `.snakemake` lost.

Snakemake takes such a file for up to date, whatever made it. So each is compared with the plan
when the workflow is read, and what is something else is refused before anything rests on it. The
same goes for all files where Snakemake is told to take them: `--touch`, `--rerun-triggers mtime`.
"""

from __future__ import annotations

import binascii
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from multistep import seal
from multistep.data import prepared
from multistep.files import UserError, atomic_write, read_json
from multistep.job import parameters, results
from multistep.job.record import short
from multistep.pages import record as page_record
from multistep.pages.context import Context
from multistep.pages.spec import Spec
from multistep.plan import choose
from multistep.plan.cells import Cell, Choice, choice_path
from multistep.plan.schema import Params
from multistep.transfer import source_record

Reader = Callable[[Path, results.Expected], object]
Check = tuple[str, Callable[[], object]]  # of a path; UserError for what isn't as planned


def mistakes(home: Path, checks: Iterable[Check], *, recorded: bool = False) -> list[str]:
    """A line for each file in a scale's folder that isn't what was planned, of those that Snakemake
    has no record of, or with `recorded` of all.

    What an interrupted job left is built again anyway.
    """
    known = _names(home / ".snakemake/incomplete")
    known |= set() if recorded else _names(home / ".snakemake/metadata")
    found = []
    for path, check in checks:
        if path not in known and os.path.exists(os.path.join(home, path)):
            try:
                check()
            except UserError as error:
                found.append(str(error).replace(f"{home}/", ""))
    return found


def unlink(home: Path) -> None:
    """Make of Snakemake's records that are links (`cache.type` of DVC, a copy made of hard links)
    files of their own. It writes records in place: into the cache, or, where that is read-only, it
    would fail after each job.
    """
    for path in sorted((home / ".snakemake/metadata").rglob("*")):
        if path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1):
            content = path.read_bytes()
            with atomic_write(path) as file:
                file.write(content)


# By plugin of Snakemake the command that ends the jobs whose numbers it keeps.
CANCEL = {
    "lsf": "bkill",
    "sge": "qdel",
    "htcondor": "condor_rm",
    "kubernetes": "kubectl delete job",
}


def left_in_queue(home: Path, plugin: str, cancel: str | None) -> str | None:
    """What to tell of the jobs that a killed run of Snakemake has left in a cluster's queue, and
    how to end them: by `cancel`, a profile's own command, or the system's.
    """
    found = set()
    for path in (home / ".snakemake/incomplete").rglob("*"):
        try:
            found.add(json.loads(path.read_text()).get("external_jobid"))
        except (OSError, ValueError, AttributeError):
            continue  # a folder, or half an entry
    left = sorted(str(number) for number in found if number is not None)
    if not left:
        return None
    end = cancel or CANCEL.get(plugin)
    how = f": {end} {' '.join(left)}" if end else ", with your system's command"
    return (
        f"A run that was killed left jobs in the cluster's queue: {', '.join(left)}. They are "
        "submitted again now, and of two that make one file the later one waits. "
        f"Cancel the old ones{how}"
    )


def _names(folder: Path) -> set[str]:
    """The files that a folder of `.snakemake` has an entry of, by its names in base64, of which the
    long ones are cut: @PART/@PART/PART.
    """
    found = set()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        try:
            name = "".join(part.removeprefix("@") for part in parts)
            found.add(urlsafe_b64decode(name).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue  # a folder, which has the beginning of a name
    return found


class OnDisk:
    """Digests of the prepared datasets and networks in a scale's folder, each read once; None of
    what isn't there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.dataset, self.network = cache(self._dataset), cache(self._network)

    def _dataset(self, name: str) -> str | None:
        folder = self.home / "data/processed" / name
        there = (folder / "dataset.json").is_file()
        return prepared.describe(folder, name).digest if there else None

    def _network(self, name: str) -> str | None:
        path = self.home / "data/networks" / name / "network.json"
        about = read_json(path) if path.is_file() else None
        return about.get("digest") if isinstance(about, dict) else None

    def expected(self, cell: Mapping[str, Any]) -> results.Expected:
        """What the record of a cell, or of a measurement, has to be beside what is there."""
        timed = cell.get("methods", {"": cell}).values()
        source = next((m["settings"]["source"] for m in timed if m["settings"].get("source")), None)
        choice = None
        if "method" in cell:
            path = self.home / choice_path(cell["experiment"], cell["dataset"], cell["method"])
            choice = results.read_choice(path) if path.is_file() else None
        network = source and self.network(source)
        return results.Expected(cell, self.dataset(cell["dataset"]), network, choice)


def checks(
    home: Path, params: Params, cells: Mapping[str, Cell],
    choices: Mapping[str, Choice], measurements: Mapping[str, Mapping[str, Any]],
) -> Iterator[Check]:  # fmt: skip
    """How each file of a plan is compared with it."""
    inputs = OnDisk(home)

    def record(read: Reader, path: str, job: Cell | Mapping[str, Any]) -> None:
        read(home / path, inputs.expected(job.definition if isinstance(job, Cell) else job))

    def network(name: str) -> None:
        path = home / f"data/networks/{name}/network.json"
        if not path.with_name("weights.pt").is_file():
            return  # they are made together
        found, about = source_record.describe(path.parent)
        if found.name != name:
            raise UserError(f"{path}: the network {found.name}; {seal.AGAIN}")
        spec = params.source_networks[name]
        right = spec.on(spec.dataset and params.used(spec.dataset)).decisive()
        made = found.settings.decisive()
        for archive, entry in spec.archives.items():
            other = entry.sha256 not in (None, about["made_from"]["network"])
            if other and entry.contents is None:  # else it may have been packed anew
                raise UserError(f"{path}: made from another {archive}; {seal.AGAIN}")
        differences = list(results.unequal("settings", made, right))
        if spec.dataset is not None:
            dataset, there = about["made_from"].get("dataset"), inputs.dataset(right["dataset"])
            differences += results.unequal("made_from.dataset", dataset, there or dataset)
        for key, is_, was in differences:
            raise UserError(f"{path}: {key} is {is_!r}, but the plan says {was!r}; {seal.AGAIN}")

    def choice(path: str) -> None:
        setting, candidates = choices[path]
        cells = [candidate.definition for candidate in candidates]
        made = results.read_choice(home / path, choose.definition(setting, cells))
        files = [home / candidate.path for candidate in candidates]
        if all(file.is_file() for file in files):
            choose.check(home / path, made, [read_json(file) for file in files])

    def data(name: str) -> None:
        folder = home / "data/processed" / name
        if (folder / "images.npy").is_file():  # else they are made together
            entry = params.datasets[name]
            made = (prepared.describe(folder, name, entry.prepare).made_from or {}).get("dataset")
            for key, is_, was in results.unequal("made_from.dataset", made, entry.decisive()):
                what = f"{key} is {short(is_)}, but the plan says {short(was)}"
                raise UserError(f"{folder}/dataset.json: {what}; {prepared.AGAIN}")

    for name in params.datasets:
        yield f"data/processed/{name}/dataset.json", partial(data, name)
    for name in params.source_networks:
        yield f"data/networks/{name}/network.json", partial(network, name)
    for path, cell in cells.items():
        yield path, partial(record, results.read, path, cell)
        yield cell.evaluation, partial(record, results.read, cell.evaluation, cell)
        if os.path.isfile(os.path.join(home, path)):  # else they are made together
            kept = str(parameters.beside(Path(path)))
            yield kept, partial(record, parameters.read, kept, cell)
    for path in choices:
        yield path, partial(choice, path)
    for path, measurement in measurements.items():
        yield path, partial(record, results.read, path, measurement)


def page(
    home: Path, form: str, name: str, spec: Spec, files: Sequence[str],
    context_of: Callable[[Spec], Context],
) -> None:  # fmt: skip
    """Compare a page with what it is asked to show. Without all of the `files` that it shows it is
    drawn again anyway.
    """
    if all((home / file).is_file() for file in files):
        records = [read_json(home / file) for file in files]
        path = home / f"reports/{form}/{name}.json"
        page_record.check(path, form, spec, context_of(spec), records)
