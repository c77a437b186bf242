"""A page of a table as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable

from multistep.pages.layout import Line, Page


def _texts(
    line: Line, escape: Callable[[str], str], bold: str, detail: str, label: str
) -> list[str]:
    """The label and the texts of a line, marked as bold, as small and the label as indented."""
    texts = [escape(line.label), *map(escape, line.texts)]
    for i, is_bold in enumerate(line.bold, start=1):
        texts[i] = bold % texts[i] if is_bold else texts[i]
    if line.role == "detail":
        texts = [detail % text for text in texts]
        texts[0] = label + texts[0]
    return texts


def markdown(page: Page) -> str:
    """GitHub-flavoured Markdown; details are indented and in small print."""

    def escape(text: str) -> str:
        return "".join(f"\\{c}" if c in "\\`*_|<>[]" else c for c in text)

    def row(*texts: str) -> str:
        return f"| {' | '.join(texts)} |"

    def rows(lines: tuple[Line, ...]) -> list[str]:
        return [row(*_texts(line, escape, "**%s**", "<sub>%s</sub>", "&emsp;")) for line in lines]

    lines = [f"**{page.title}.** {escape(page.caption)}", "", f"*{escape(page.provenance)}*", ""]
    if page.training:
        lines += [escape(page.training), ""]
    lines.append(row(escape(page.corner), *map(escape, page.headings)))
    lines.append(row(":--", *["--:"] * len(page.headings)))
    lines += rows(page.subheadings)
    for section in page.sections:
        if section.heading:
            lines.append(row(f"*{escape(section.heading)}*", *[""] * len(page.headings)))
        for group in section.groups:
            lines += rows(group)
    if page.notes:
        lines += ["", *(f"- {escape(note)}" for note in page.notes)]
    if page.references:
        lines += ["", "References", "", *(f"- {escape(text)}" for text in page.references)]
    return "\n".join(lines) + "\n"


def latex(page: Page) -> str:
    """A float for the booktabs package; symbols outside ASCII are spelled out."""

    def escape(text: str) -> str:
        return "".join(_TEX.get(c, c) for c in text)

    def rows(lines: tuple[Line, ...]) -> list[str]:
        marks = ("\\textbf{%s}", "{\\footnotesize %s}", "\\quad ")
        return [" & ".join(_texts(line, escape, *marks)) + " \\\\" for line in lines]

    columns = len(page.headings)
    sentences = [text for text in (page.caption, page.provenance, page.training) if text]
    caption = ". ".join(escape(text.removesuffix(".")) for text in sentences)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}.}}",
        f"\\label{{tab:{''.join(page.title.lower().split())}}}",
        f"\\begin{{tabular}}{{l{'r' * columns}}}",
        "\\toprule",
        *rows((Line(page.corner, page.headings), *page.subheadings)),
    ]
    for section in page.sections:
        lines.append("\\midrule")
        if section.heading:
            heading = f"\\multicolumn{{{columns + 1}}}{{l}}{{\\emph{{{escape(section.heading)}}}}}"
            lines.append(f"{heading} \\\\")
        for i, group in enumerate(section.groups):
            lines += ["\\addlinespace"] if i and len(group) > 1 else []
            lines += rows(group)
    lines += ["\\bottomrule", "\\end{tabular}", "\\par\\smallskip"]
    lines += ["\\begin{minipage}{\\linewidth}", "\\footnotesize"]
    lines += [f"{escape(text)}\\par" for text in (*page.notes, *page.references)]
    lines += ["\\end{minipage}", "\\end{table}"]
    return "\n".join(lines) + "\n"


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
