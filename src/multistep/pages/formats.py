"""A page of a table as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from multistep.pages.layout import Line, Page


def markdown(page: Page) -> str:
    """GitHub-flavoured Markdown; details are indented and in small print."""
    lines = [f"**{page.title}.** {_md(page.caption)}", "", f"*{_md(page.provenance)}*", ""]
    if page.training:
        lines += [_md(page.training), ""]
    lines.append(_md_row([_md(page.corner), *map(_md, page.headings)]))
    lines.append(_md_row([":--", *["--:"] * len(page.headings)]))
    lines += [_md_line(line) for line in page.subheadings]
    for section in page.sections:
        if section.heading:
            lines.append(_md_row([f"*{_md(section.heading)}*", *[""] * len(page.headings)]))
        for group in section.groups:
            lines += [_md_line(line) for line in group]
    if page.notes:
        lines += ["", *(f"- {_md(note)}" for note in page.notes)]
    if page.references:
        lines += ["", "References", "", *(f"- {_md(text)}" for text in page.references)]
    return "\n".join(lines) + "\n"


def _md_line(line: Line) -> str:
    texts = [_md(line.label), *map(_md, line.texts)]
    for i in _bold(line):
        texts[i] = f"**{texts[i]}**"
    if line.role == "detail":
        texts = [f"<sub>{text}</sub>" for text in texts]
        texts[0] = f"&emsp;{texts[0]}"
    return _md_row(texts)


def _bold(line: Line) -> list[int]:
    """The places of the bold texts, counting the label as 0."""
    return [i for i, bold in enumerate(line.bold, start=1) if bold]


def _md_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _md(text: str) -> str:
    """Text with the characters that Markdown would take as markup escaped."""
    return "".join(f"\\{c}" if c in "\\`*_|<>[]" else c for c in text)


def latex(page: Page) -> str:
    """A float for the booktabs package; symbols outside ASCII are spelled out."""
    columns = len(page.headings)
    caption = ". ".join(_tex(text.removesuffix(".")) for text in _sentences(page))
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}.}}",
        f"\\label{{tab:{''.join(page.title.lower().split())}}}",
        f"\\begin{{tabular}}{{l{'r' * columns}}}",
        "\\toprule",
        _tex_row([_tex(page.corner), *map(_tex, page.headings)]),
        *(_tex_line(line) for line in page.subheadings),
    ]
    for section in page.sections:
        lines.append("\\midrule")
        if section.heading:
            heading = f"\\multicolumn{{{columns + 1}}}{{l}}{{\\emph{{{_tex(section.heading)}}}}}"
            lines.append(f"{heading} \\\\")
        for i, group in enumerate(section.groups):
            if i and len(group) > 1:
                lines.append("\\addlinespace")
            lines += [_tex_line(line) for line in group]
    lines += [
        "\\bottomrule",
        "\\end{tabular}",
        "\\par\\smallskip",
        "\\begin{minipage}{\\linewidth}",
    ]
    lines += ["\\footnotesize"]
    lines += [f"{_tex(text)}\\par" for text in (*page.notes, *page.references)]
    lines += ["\\end{minipage}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _sentences(page: Page) -> list[str]:
    return [text for text in (page.caption, page.provenance, page.training) if text]


def _tex_line(line: Line) -> str:
    texts = [_tex(line.label), *map(_tex, line.texts)]
    for i in _bold(line):
        texts[i] = f"\\textbf{{{texts[i]}}}"
    if line.role == "detail":
        texts = [f"{{\\footnotesize {text}}}" for text in texts]
        texts[0] = f"\\quad {texts[0]}"
    return _tex_row(texts)


def _tex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + " \\\\"


_TEX = {
    "\\": "\\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "[": "{[}",  # after a line break, a bare [ would be taken for its optional argument
    "–": "--",
    "−": "$-$",
    "±": "$\\pm$",
    "†": "$\\dagger$",
    "·": "$\\cdot$",
    "√": "$\\surd$",
    "×": "$\\times$",
    "≠": "$\\neq$",
    "φ": "$\\phi$",
    "λ": "$\\lambda$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
