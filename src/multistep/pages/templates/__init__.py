"""A page of a table as Markdown, HTML and LaTeX, through the Jinja2 templates beside this module.

What a format has beyond its template is how it escapes a text, and LaTeX how a table fits the line.
"""

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from multistep.pages.layout import Bold, Line, Page

FORMATS = ("md", "tex", "html")
LINE, PAGE = 345.0, 530.0  # pt: \linewidth and most of \textheight of LaTeX's article
# The sizes of a table's text, what is one smaller for details, and of both the em of Computer
# Modern in pt, in which `_LETTERS` are given; the distance of lines.
SIZES = {
    "small": ("footnotesize", 9.25, 8.5, 11.0),
    "footnotesize": ("scriptsize", 8.5, 7.97, 9.5),
}
_SEPARATION = 3.0  # \tabcolsep in pt
_LETTERS = {
    0.28: ".,:;'[]|!il", 0.34: " -fj", 0.37: "I", 0.4: "()rst", 0.45: "cez",
    0.56: "bdhknpquvxy^~", 0.6: "φλ", 0.79: "GKOQ+=≠<>&@_", 0.84: "mw%×−#√", 0.92: "M", 1.03: "W",
    1.12: "±",
}  # fmt: skip


def render(page: Page, form: str) -> str:
    """The whole page in one of `FORMATS`; "grid.html" is its table alone, to stand in a site."""
    tex = form == "tex"
    of = template(form if "." in form else f"table.{form}", tex=tex)
    return str(of.render(page=page, **(fit(page) if tex else {}))).rstrip() + "\n"


def template(name: str, *, tex: bool = False) -> Any:
    """A template of the folder templates/."""
    return _environment(tex).get_template(name)


@cache
def _environment(tex: bool) -> Any:
    """Jinja2's, imported where a page is drawn: Snakemake reads what pages say, and draws none."""
    import jinja2
    from markupsafe import Markup, escape

    marks = ("<%", "%>", "<<", ">>", "<#", "#>") if tex else ("{%", "%}", "{{", "}}", "{#", "#}")
    environment = jinja2.Environment(
        *marks,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: str(name).endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def markdown(text: str) -> str:
        escaped = re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
        return f"**{escaped}**" if isinstance(text, Bold) else escaped

    def html(text: str) -> Markup:
        bold = Markup("<strong>{}</strong>")
        return bold.format(str(text)) if isinstance(text, Bold) else escape(str(text))

    def prose(text: str) -> Markup:
        return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))

    def label(text: str) -> str:
        return re.sub(r'[\s\\{}%#&~^_$<>|"]', "", text)  # what a name in LaTeX can't have

    environment.filters |= {"md": markdown, "html": html, "prose": prose, "tex": latex}
    environment.filters["label"] = label
    return environment


_TEX = {
    " ± ": "\\,$\\pm$\\,", "±": "$\\pm$", "–": "--", "−": "$-$", "†": "$\\dagger$", "·": "$\\cdot$",
    "√": "$\\surd$", "×": "$\\times$", "≠": "$\\neq$", "φ": "$\\phi$", "λ": "$\\lambda$",
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "[": "{[}",  # after a line break, a bare [ would be taken for its optional argument
}  # fmt: skip


def latex(text: str, side: str = "r") -> str:
    """A text in LaTeX, symbols outside ASCII spelled out; its lines, if several, as a stack."""
    if "\n" in text:
        lines = " \\\\ ".join(map(latex, text.split("\n")))
        return f"\\shortstack[{side}]{{{lines}}}"
    escaped = re.sub("|".join(map(re.escape, _TEX)), lambda found: _TEX[found[0]], text)
    return f"\\textbf{{{escaped}}}" if isinstance(text, Bold) else escaped


def fit(page: Page) -> dict[str, Any]:
    """A page in panels of columns that fit `LINE` in one of `SIZES`, headings and labels wrapped.

    As few panels as possible, and the larger size of those that do. `floats` has the panels that
    one page holds, and then the notes; None stands for them.
    """
    count = len(page.headings)
    for panels, size in itertools.product(range(1, count + 1), SIZES):
        columns = -(-count // panels)
        chunks = [range(i, min(i + columns, count)) for i in range(0, count, columns)]
        found = [_panel(page, chunk, size) for chunk in chunks]
        if panels == count or all(width <= LINE for _, width in found):
            break
    smaller, _, _, distance = SIZES[size]
    texts = (page.provenance, page.training, *page.notes, *page.references)
    notes = [text for text in texts if text]
    lines = [1 + sum(map(_letter, text)) * SIZES["footnotesize"][2] // LINE for text in notes]
    heights = [(panel, distance * _lines(panel) + 30) for panel, _ in found]
    floats: list[list[Page | None]] = [[]]
    height = 60.0  # of the caption
    for block, high in (*heights, (None, 8.5 * sum(lines))):
        if floats[-1] and height + high > PAGE:
            floats.append([])
            height = 30.0
        floats[-1].append(block)
        height += high
    return {"floats": floats, "notes": notes, "size": size, "smaller": smaller}


def _lines(panel: Page) -> int:
    """How many lines of text a panel has."""
    rows = [line.texts for groups in panel.sections.values() for g in groups for line in g]
    heads = [panel.headings, *(line.texts for line in panel.subheadings)]
    stacks = [max(text.count("\n") for text in texts) for texts in heads]
    gaps = sum(len(groups) for groups in panel.sections.values()) / 3
    return int(len(rows) + len(heads) + sum(stacks) + 1.5 * len(panel.sections) + gaps)


def _panel(page: Page, columns: Sequence[int], size: str) -> tuple[Page, float]:
    """The page with these columns alone, and how wide it is in pt."""

    def line(line: Line, most: Sequence[int] = ()) -> Line:
        texts = [line.texts[i] for i in columns]
        if most:
            texts = [_wrap(text, letters) for text, letters in zip(texts, most, strict=True)]
        return replace(line, label=_wrap(line.label, 24), texts=texts)

    def widths(lines: Sequence[Line]) -> list[float]:
        """Of the column of labels and of the others."""
        rows = [list(_widths(line, size)) for line in lines]
        return [max(column) for column in zip(*rows, strict=True)]

    bodies = [[[line(x) for x in group] for group in groups] for groups in page.sections.values()]
    lines = [x for groups in bodies for group in groups for x in group]
    em = SIZES[size][1] / 2  # of a letter
    most = [max(8, int(width / em)) for width in widths(lines)[1:]]
    heads = [line(head, most) for head in (Line(page.corner, page.headings), *page.subheadings)]
    total = sum(widths([*heads, *lines])) + 2 * _SEPARATION * len(columns)
    headings = [_wrap(heading, int(total / em)) for heading in page.sections]
    panel = replace(
        page,
        headings=heads[0].texts,
        corner=heads[0].label,
        subheadings=heads[1:],
        sections=dict(zip(headings, bodies, strict=True)),
    )
    return panel, total


def _wrap(text: str, letters: int) -> str:
    """A text in lines of up to so many letters; a number is never broken."""
    bound = text.replace(" ± ", "\0").replace(" [", "\1")
    lines = textwrap.wrap(bound, letters, break_long_words=False, break_on_hyphens=False)
    whole = "\n".join(lines).replace("\0", " ± ").replace("\1", " [")
    return type(text)(whole)


def _widths(line: Line, size: str) -> Iterator[float]:
    """Of the label and the texts of a line in pt."""
    detail = line.role == "detail"
    em: float = SIZES[size][2] if detail else SIZES[size][1]
    for i, text in enumerate([line.label, *line.texts]):
        parts = text.replace(" ± ", "±").split("\n")
        units: float = max(sum(map(_letter, part)) for part in parts)
        bold = 1.16 if isinstance(text, Bold) else 1.0
        yield em * (units * bold + (1.0 if i == 0 and detail else 0.0))


def _letter(letter: str) -> float:
    """The width of a letter in Computer Modern, in em."""
    usual = 0.75 if letter.isupper() else 0.5
    return next((width for width, letters in _LETTERS.items() if letter in letters), usual)
