"""Check every object of a DVC remote, whatever it lies on: local, SSH, S3, HTTP.

An object's name is the MD5 of its bytes; a folder is an object too, a list of its files. DVC itself
looks whether names exist: `dvc push` doesn't mend what is damaged or missing beneath a folder, and
`dvc pull` takes damaged bytes from a remote without `verify` for right ones.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from multistep.data.archives import blocks
from multistep.files import UserError, one_line
from multistep.progress import progress

MISSING = "it is missing"


def check(name: str | None, jobs: int, *, remove: bool) -> None:
    """Read all objects of a remote of the project (None: its default), `jobs` at a time; where none
    lists them, as over HTTP, those of this commit.

    Raises UserError with a line for each that is damaged or missing; with `remove` the damaged and
    the folders that list them are removed first, so that `dvc push` brings them again.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo()
        objects = repo.cloud.get_remote_odb(name)
        pushed = [
            out for out in repo.index.outs if out.hash_info and out.use_cache and out.can_push
        ]
        paths = {out.hash_info.value: str(out) for out in pushed}
        try:
            left, listed = set(objects.all()), True
        except NotImplementedError:
            left, listed = set(paths), False
    except (DvcException, OSError) as error:
        raise UserError(f"remote {name or ''}: {one_line(error)}; see `dvc remote list`") from None
    where = objects.fs.unstrip_protocol(objects.path)

    wrong: dict[str, str] = {}
    folders: dict[str, set[str]] = {}  # by object those that list it
    seen: set[str] = set()
    while left:  # then what folders list and isn't there, or can't be listed
        with progress(where, len(left), "objects") as advance, ThreadPoolExecutor(jobs) as readers:
            for oid, what, files in readers.map(partial(_read, objects, where), sorted(left)):
                if what:
                    wrong[oid] = what
                for file in files:
                    folders.setdefault(file["md5"], set()).add(oid)
                    if oid in paths:
                        paths.setdefault(file["md5"], f"{paths[oid]}/{file['relpath']}")
                advance(1)
        seen |= left
        left = folders.keys() - seen
    there = len(seen) - sum(what == MISSING for what in wrong.values())
    print(f"{there:6,} objects of {where}")
    if wrong:
        damaged = {oid for oid, what in wrong.items() if what != MISSING}
        damaged |= {folder for oid in wrong for folder in folders.get(oid, ())}
        again = _mend(objects, damaged, name, listed=listed, remove=remove)
        lines = sorted(
            f"{o} ({paths.get(o, 'of no file of this commit')}): {wrong[o]}" for o in wrong
        )
        told = "\n  ".join(lines)
        raise UserError(
            f"{len(wrong)} objects of {where} are damaged or missing:\n  {told}\n{again}"
        )
    print("all are whole")
    if not objects.verify:
        raise UserError(
            f"{where}: `dvc pull` wouldn't tell if they weren't; say "
            f"`dvc remote modify {name or repo.config['core']['remote']} verify true`"
        )


def _read(objects: Any, where: str, oid: str) -> tuple[str, str, list[dict[str, str]]]:
    """An object, what is wrong with it, and its files, if it is a folder."""
    found, kept = hashlib.md5(usedforsecurity=False), []
    try:
        with objects.fs.open(objects.oid_to_path(oid), "rb") as file:
            for block in blocks(file):
                found.update(block)
                kept += [block] if oid.endswith(".dir") else []
    except FileNotFoundError:
        return oid, MISSING, []
    except Exception as error:  # each protocol's library raises its own
        reason = f"{oid} can't be read ({one_line(error)})"
        raise UserError(f"{where}: {reason}; try again later") from None
    if found.hexdigest() != oid.removesuffix(".dir"):
        return oid, "its bytes differ from its name", []
    return oid, "", json.loads(b"".join(kept) or b"[]")


def _mend(objects: Any, damaged: set[str], name: str | None, *, listed: bool, remove: bool) -> str:
    """What to do about damaged objects, which with `remove` go now, where the remote lists them."""
    if not listed:
        at = ", ".join(objects.oid_to_path(oid) for oid in sorted(damaged)) or "nothing"
        return f"delete on its server: {at}; then `dvc push` from a clone that has them"
    if not remove:
        named = f" {name}" * bool(name)
        return f"in a clone that has them: multistep verify --remote{named} --remove && dvc push"
    for oid in damaged:
        objects.fs.remove(objects.oid_to_path(oid))
    return "removed, with the folders that list them; `dvc push` from a clone that has them"
