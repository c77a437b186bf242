"""Check every object of a DVC remote, whatever it lies on: local, SSH, S3.

An object's name is the MD5 of its bytes; a folder is an object too, a list of its files. DVC itself
looks whether names exist: `dvc push` doesn't mend what is damaged or missing beneath a folder, and
`dvc pull` takes damaged bytes from a remote without `verify` for right ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from multistep.data.archives import blocks
from multistep.files import UserError, one_line
from multistep.progress import progress


def check(name: str | None, jobs: int, *, remove: bool) -> None:
    """Read all objects of a remote of the project (None: its default), `jobs` at a time.

    Raises UserError with a line for each that is damaged or missing; with `remove` the damaged and
    the folders that list them are removed first, so that `dvc push` brings them again.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo()
        objects = repo.cloud.get_remote_odb(name)
        held = set(objects.all())
    except (DvcException, OSError) as error:
        raise UserError(f"remote {name or ''}: {one_line(error)}; see `dvc remote list`") from None
    where = objects.fs.unstrip_protocol(objects.path)

    def read(oid: str) -> tuple[str, list[dict[str, str]] | None]:
        """Its files, if it is a folder; None of one whose bytes aren't those of its name."""
        found, kept = hashlib.md5(usedforsecurity=False), []
        with objects.fs.open(objects.oid_to_path(oid), "rb") as file:
            for block in blocks(file):
                found.update(block)
                kept += [block] if oid.endswith(".dir") else []
        whole = found.hexdigest() == oid.removesuffix(".dir")
        return oid, (json.loads(b"".join(kept) or b"[]") if whole else None)

    content = {}
    with progress(where, len(held), "objects") as advance, ThreadPoolExecutor(jobs) as readers:
        for oid, files in readers.map(read, sorted(held)):
            content[oid] = files
            advance(1)
    paths = dict(_paths(repo))
    bad = {oid: "its bytes differ from its name" for oid, files in content.items() if files is None}
    wrong = {
        oid: f"{oid} ({paths.get(oid, 'of no file of this commit')}): {bad[oid]}" for oid in bad
    }
    folders = set()
    for folder, files in content.items():
        for file in files or []:
            oid, path = file["md5"], f"{paths.get(folder, folder)}/{file['relpath']}"
            if oid not in held or oid in bad:
                folders.add(folder)
                wrong[oid] = f"{oid} ({path}): {bad.get(oid, 'it is missing')}"
    if remove:
        for oid in {*bad, *folders}:
            objects.fs.remove(objects.oid_to_path(oid))
    print(f"{len(held):6,} objects of {where}")
    if wrong:
        named = f" {name}" * bool(name)
        again = (
            "removed, with the folders that list them; `dvc push` from a clone that has them"
            if remove
            else f"in a clone that has them: multistep verify --remote{named} --remove && dvc push"
        )
        lines = "\n  ".join(line for _, line in sorted(wrong.items()))
        raise UserError(
            f"{len(wrong)} objects of {where} are damaged or missing:\n  {lines}\n{again}"
        )
    print("all are whole")
    if not objects.verify:
        raise UserError(
            f"{where}: `dvc pull` wouldn't tell if they weren't; say "
            f"`dvc remote modify {name or repo.config['core']['remote']} verify true`"
        )


def _paths(repo: Any) -> Iterator[tuple[str, str]]:
    """Of what this commit has in DVC: object and path."""
    for out in repo.index.outs:
        if out.hash_info:
            yield out.hash_info.value, str(out)
