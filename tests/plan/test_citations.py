"""Every value of params.yaml that makes a method or an experiment its own has its citation."""

import re

from helpers import PARAMS

CITATION = re.compile(
    r"paper|appendix|section|equation|Table|Figure|decision|published|code|command|algorithm|\[\d+\]"
    r"|\(\d{4}\)|its table|as above|as at|as in|as learn2learn"
)


def uncited() -> list[str]:
    """Lines with a value under `settings`, `overrides` or `choose` of methods and experiments whose
    own comment, or that above them or above what they stand in, cites nothing.
    """
    section, above = "", ""
    stack: list[tuple[int, str, str]] = []  # (indentation, key, comments that count for it)
    found = []
    for line in PARAMS.read_text(encoding="utf-8").splitlines():
        text, _, comment = line.partition("#")
        if not text.strip():
            above = f"{above} {comment}" if comment else ""
            continue
        indent = len(text) - len(text.lstrip())
        key, _, value = text.strip().partition(":")
        if indent == 0:
            section = key
        while stack and stack[-1][0] >= indent:
            stack.pop()
        told = f"{stack[-1][2] if stack else ''} {above} {comment}"
        inside = any(k in ("settings", "overrides", "choose") for _, k, _ in stack)
        here = inside or key in ("settings", "overrides", "choose")
        here = here and section in ("methods", "experiments")
        value = re.sub(r"^&\w+", "", value.strip()).strip()
        if here and value not in ("", "{}") and not CITATION.search(told):
            found.append(line)
        stack.append((indent, key, told if indent else ""))
        above = ""
    return found


def test_every_override_has_its_citation() -> None:
    assert uncited() == []
