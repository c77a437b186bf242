"""A page of a table as one HTML file that needs nothing else: no script, font or style sheet."""

from __future__ import annotations

from html import escape

from multistep.pages.layout import Line, Page

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #57606a; --paper: #ffffff;
  --rule: #1b1f24; --hair: #d8dee4; --band: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9da7b1; --paper: #0d1117; --rule: #9da7b1;
    --hair: #30363d; --band: #161b22; }
}
body { margin: 2rem auto; padding: 0 1rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 16px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.25rem; margin: 0 0 .25rem; }
p { margin: .25rem 0; }
.provenance { display: inline-block; margin: .25rem 0; padding: .15rem .6rem;
  border: 1px solid var(--hair); border-radius: .3rem; background: var(--band); }
.training, .notes, .references { color: var(--quiet); font-size: .875rem; }
.scroll { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; width: 100%; border-top: 2px solid var(--rule);
  border-bottom: 2px solid var(--rule); font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { text-align: left; padding-left: .25rem; }
thead { border-bottom: 1px solid var(--rule); }
thead th[scope="col"] { font-weight: 600; }
thead td, thead tr.detail th { white-space: normal; vertical-align: top; }
thead tr.detail th { padding-left: .25rem; }
tbody.heading th { padding-top: .8rem; font-style: italic; color: var(--quiet); }
tbody.group + tbody.group { border-top: 1px solid var(--hair); }
tr.value th { font-weight: 600; }
tr.detail th, tr.detail td { padding-top: 0; padding-bottom: .15rem; color: var(--quiet);
  font-size: .875rem; }
tr.detail th { padding-left: 1.5rem; }
h2 { font-size: .875rem; margin: 1rem 0 .25rem; }
ul { margin: .25rem 0; padding-left: 1.1rem; }
li { margin: .2rem 0; }
"""


def document(page: Page) -> str:
    """The whole page: heading, provenance, table with row and column headers, notes, references."""
    columns = len(page.headings)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in page.headings)
    bodies = []
    for section in page.sections:
        if section.heading:
            bodies.append(
                f'<tbody class="heading"><tr><th scope="rowgroup" colspan="{columns + 1}">'
                f"{escape(section.heading)}</th></tr></tbody>"
            )
        for group in section.groups:
            kind = ' class="group"' if len(group) > 1 else ""
            rows = "\n".join(_row(line) for line in group)
            bodies.append(f"<tbody{kind}>\n{rows}\n</tbody>")
    ends = []
    for heading, texts in (("Notes", page.notes), ("References", page.references)):
        if texts:
            items = "\n".join(f"<li>{escape(text)}</li>" for text in texts)
            ends.append(f'<div class="{heading.lower()}">\n<h2>{heading}</h2>')
            ends.append(f"<ul>\n{items}\n</ul>\n</div>")
    title = escape(f"{page.title}. {page.caption}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{title}</h1>",
            f'<p class="provenance">{escape(page.provenance)}</p>',
            *([f'<p class="training">{escape(page.training)}</p>'] if page.training else []),
            '<div class="scroll">',
            "<table>",
            f"<caption>{title}</caption>",
            f'<thead><tr><th scope="col">{escape(page.corner)}</th>{head}</tr>',
            *(_row(line) for line in page.subheadings),
            "</thead>",
            *bodies,
            "</table>",
            "</div>",
            *ends,
            "</body>",
            "</html>",
            "",
        ]
    )


def _row(line: Line) -> str:
    texts = [escape(text) for text in line.texts]
    for i, bold in enumerate(line.bold):
        texts[i] = f"<strong>{texts[i]}</strong>" if bold else texts[i]
    cells = "".join(f"<td>{text}</td>" for text in texts)
    return f'<tr class="{line.role}"><th scope="row">{escape(line.label)}</th>{cells}</tr>'
