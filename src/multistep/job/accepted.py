"""What a finished job was made of goes when its result has been accepted, and not before.

A job leaves its outcome at the path of its checkpoint (`multistep.job.loop.to_the_end`), since a
result can be lost after the job: a scheduler that was killed deletes, when it starts again, what
its orphans have made. A workflow that ended well has accepted the results that are there; then
`forget` removes their outcomes. The states beside them that runs can be lengthened from (`.state`)
stay, until `make clean`. Nothing here imports torch: Snakemake's own process calls it.
"""

from __future__ import annotations

from pathlib import Path


def forget(home: Path) -> list[Path]:
    """Remove the states under `home`/scratch whose results are there and younger; tell which.

    Results of jobs that Snakemake hasn't seen the end of may still be deleted: while any is marked
    so, nothing is removed. The checkpoint of a job that runs has no younger result.
    """
    if any(path.is_file() for path in (home / ".snakemake/incomplete").rglob("*")):
        return []
    removed = []
    for state in sorted((home / "scratch").rglob("*.pt")):
        where = state.relative_to(home / "scratch").with_suffix("")
        made = home / where.with_name(f"{where.name}.json")
        if where.parts[0] == "networks":
            made = home / "data" / where / "network.json"
        if made.exists() and made.stat().st_mtime_ns >= state.stat().st_mtime_ns:
            state.unlink()
            removed.append(state)
    return removed
