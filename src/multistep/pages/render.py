"""A page of a table as Markdown, HTML and LaTeX: templates/table.* through Jinja2.

What a format has beyond its template is how it escapes a text, and LaTeX how a table fits the line.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from multistep.pages.layout import Bold, Line, Page

FORMATS = ("md", "tex", "html")
LINE = 345.0  # pt: \linewidth of LaTeX's article, narrower than most
# \small, then what is one smaller, with their points and the em of Computer Modern in them.
SIZES = {"small": (9.25, "footnotesize"), "footnotesize": (8.5, "scriptsize")}
_DETAIL, _SEPARATION = 0.94, 3.0  # a detail's size relative to a value's; \tabcolsep in pt


def render(page: Page, form: str) -> str:
    """The whole page in one of `FORMATS`; "grid.html" is its table alone, to stand in a site."""
    tex = form == "tex"
    size, panels = fit(page) if tex else ("", [])
    template = _environment(tex).get_template(form if "." in form else f"table.{form}")
    smaller = SIZES[size][1] if tex else ""
    return str(template.render(page=page, panels=panels, size=size, smaller=smaller)) + "\n"


@cache
def _environment(tex: bool) -> Any:
    """Jinja2's, imported where a page is drawn: Snakemake reads what pages say, and draws none."""
    import jinja2
    from markupsafe import Markup, escape

    marks = ("<%", "%>", "<<", ">>", "<#", "#>") if tex else ("{%", "%}", "{{", "}}", "{#", "#}")
    environment = jinja2.Environment(
        *marks,
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
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

    environment.filters |= {"md": markdown, "html": html, "tex": latex}
    return environment


_TEX = {
    " ± ": "\\,$\\pm$\\,", "±": "$\\pm$", "–": "--", "−": "$-$", "†": "$\\dagger$", "·": "$\\cdot$",
    "√": "$\\surd$", "×": "$\\times$", "≠": "$\\neq$", "φ": "$\\phi$", "λ": "$\\lambda$",
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
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


def fit(page: Page) -> tuple[str, list[Page]]:
    """A page in panels of columns that fit `LINE` in one of `SIZES`, headings and labels wrapped.

    As few panels as possible, and the larger size of those that do.
    """
    count = len(page.headings)
    for panels in range(1, count + 1):
        columns = -(-count // panels)
        chunks = [range(i, min(i + columns, count)) for i in range(0, count, columns)]
        for size, (em, _) in SIZES.items():
            found = [_panel(page, chunk, em) for chunk in chunks]
            if panels == count or all(width <= LINE for _, width in found):
                return size, [panel for panel, _ in found]
    raise AssertionError("a page has a column")


def _panel(page: Page, columns: Sequence[int], em: float) -> tuple[Page, float]:
    """The page with these columns alone, and how wide it is in pt."""

    def line(line: Line, widths: Sequence[int] = ()) -> Line:
        texts = [line.texts[i] for i in columns]
        wrapped = [
            _wrap(text, n) for text, n in zip(texts, widths or [99] * len(texts), strict=True)
        ]
        return replace(line, label=_wrap(line.label, 24), texts=wrapped)

    sections = {
        h: [[line(x) for x in group] for group in groups] for h, groups in page.sections.items()
    }
    lines = [x for groups in sections.values() for group in groups for x in group]
    body = [max(_width(x, i, em) for x in lines) for i in range(len(columns))]
    letters = [max(8, int(width / em / 0.5)) for width in body]
    heads = [line(Line(page.corner, page.headings), letters)]
    heads += [line(subheading, letters) for subheading in page.subheadings]
    all_lines = [*heads, *lines]
    total = sum(max(_width(x, i, em) for x in all_lines) for i in range(-1, len(columns)))
    total += 2 * _SEPARATION * len(columns)
    sections = {_wrap(h, int(total / em / 0.5)): groups for h, groups in sections.items()}
    return replace(
        page,
        headings=heads[0].texts,
        corner=heads[0].label,
        subheadings=heads[1:],
        sections=sections,
    ), total


def _wrap(text: str, letters: int) -> str:
    """A text in lines of up to so many letters; a number is never broken."""
    bound = text.replace(" ± ", "\0").replace(" [", "\1")
    lines = textwrap.wrap(bound, letters, break_long_words=False, break_on_hyphens=False)
    whole = "\n".join(lines).replace("\0", " ± ").replace("\1", " [")
    return type(text)(whole)


def _width(line: Line, column: int, em: float) -> float:
    """Of a text of a line in pt; column -1 is the label."""
    text = line.label if column < 0 else line.texts[column]
    units = max(
        (sum(map(_letter, part.replace(" ± ", "±"))) for part in text.split("\n")), default=0
    )
    indent = 1.1 if column < 0 and line.role == "detail" else 0.0
    small = _DETAIL if line.role == "detail" else 1.0
    return em * small * (units * (1.16 if isinstance(text, Bold) else 1.0) + indent)


def _letter(letter: str) -> float:
    """The width of a letter in Computer Modern, in em: not less than it is."""
    if letter in ".,:;' ()[]|!ijlt":
        return 0.39 if letter in "()t " else 0.28
    if letter == "±":
        return 1.12  # with the spaces around it
    if letter in "mwMW%×–−":
        return 0.84
    return 0.72 if letter.isupper() else 0.53
