"""Lists of images as publishers and spreadsheets write them, and the members that they name.

`where` names archive and member in the UserError that an unreadable list raises.
"""

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from multistep.data.decoding import AGAIN
from multistep.files import UserError


def text(data: bytes, where: str) -> str:
    """The text of a list: UTF-8, or wider, which its mark tells or the zeros of its heading."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not a text file in UTF-8 or UTF-16 ({error}); save it as UTF-8, or {AGAIN}"
        ) from None


def lines(data: bytes, where: str) -> list[str]:
    """The lines of a list that aren't empty. Names may hold blanks; lines may end as on Windows,
    and values stand in quotes or end in a separator, as spreadsheets save a single column.
    """
    found = (
        line.strip().rstrip(";,").strip().strip('"') for line in text(data, where).splitlines()
    )
    return [line for line in found if line]


def fields(line: str, most: int = 0) -> list[str]:
    """What stands in a line between blanks, tabs, semicolons or commas, of which only the first
    `most` part it (0: all of them).
    """
    return re.split(r"[\s;,]+", line, maxsplit=most)


def table(data: bytes, where: str, *columns: str) -> Iterator[tuple[str, ...]]:
    """These columns of a csv, from each row that isn't empty.

    As spreadsheets save it, too: with semicolons or tabs, blanks around values, other columns
    besides, a heading in other case, or Excel's `sep=;` before it.
    """
    rows = [line for line in text(data, where).splitlines() if line.strip(" \t;,")]
    if rows and re.fullmatch(r"sep=.", rows[0].strip(), re.IGNORECASE):
        rows = rows[1:]
    between = next((mark for mark in ";\t" if rows and mark in rows[0]), ",")
    try:
        read = csv.reader(rows, delimiter=between, skipinitialspace=True)
        found = [[value.strip() for value in row] for row in read]
    except csv.Error as error:
        raise UserError(f"{where}: not a list ({error}); {AGAIN}") from None
    heading = [name.lower() for name in found[0]] if found else []
    if missing := [name for name in columns if name not in heading]:
        told = f"its first line is {rows[0].strip()[:60]!r}" if rows else "it is empty"
        raise UserError(
            f"{where}: no columns {' and '.join(columns)}: {told}; write {','.join(columns)} above "
            f"the rows ({missing[0]} is missing), or {AGAIN}"
        )
    places = [heading.index(name) for name in columns]
    for row in found[1:]:
        values = tuple(row[place] if place < len(row) else "" for place in places)
        if not all(values):
            raise UserError(
                f"{where}: no {columns[values.index('')]} in the row {row}; mend the list"
            )
        yield values


def path(listed: str) -> PurePosixPath:
    """A listed path, whichever system wrote it."""
    return PurePosixPath(listed.replace("\\", "/"))


def alike(name: str) -> str:
    """Equal for names that file systems and packers take for one: but for case, how letters with
    accents are put together, and .jpeg for .jpg.
    """
    name = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"\.jpeg$", ".jpg", name)


def named(listed: Iterable[str], found: Iterable[str], where: str) -> dict[str, str]:
    """By the names `found` in archives, those that lists have for them: just the same, or else
    `alike`, or listed without their ending. Raises UserError where that leaves a choice.
    """
    wanted, every = set(listed), dict.fromkeys(found)
    members = {name: name for name in every if name in wanted}
    left = {alike(name): name for name in sorted(wanted - members.keys())}
    taken: dict[str, str] = {}
    for member in every if left else ():
        same = alike(member)
        name = left.get(same) or left.get(same.rpartition(".")[0])  # listed without its ending
        if member in members or name is None:
            continue
        if (other := taken.setdefault(name, member)) != member:
            raise UserError(
                f"{where}: {other} and {member} could both be {name} of the lists; leave one out, "
                "or name one as the lists do"
            )
        members[member] = name
    return members
