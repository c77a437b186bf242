"""Every table's LaTeX compiles, and fits the line and the page of LaTeX's article."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import PARAMS, ROOT
from page_records import Record, made_up

from multistep.pages import inputs, load, query
from multistep.pages.tables import draw
from multistep.pages.templates import _letter, latex, render
from multistep.plan import params

REPORT = ROOT / "workflow" / "report"
PDFLATEX = shutil.which("pdflatex")
PACKAGES = ("booktabs.sty", "lmodern.sty")  # pdflatex comes without them, too
if PDFLATEX and (kpsewhich := shutil.which("kpsewhich")):
    place = subprocess.run([kpsewhich, *PACKAGES], capture_output=True, text=True, check=False)
    PDFLATEX = PDFLATEX if len(place.stdout.split()) == len(PACKAGES) else None
WIDE = "\\begin{tabular}{l}\\rule{400pt}{1pt}\\end{tabular}\\par\n"  # that the check works
HEAD = (
    "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{lmodern,booktabs}\n"
    "\\begin{document}\n\\makeatletter\\def\\fps@table{!htp}\\makeatother\n"
)


def tables() -> dict[str, str]:
    """The LaTeX of every table: of whole made-up runs, and of the results that are committed."""
    found = {}
    base = params.load(PARAMS)
    paper = inputs.Plan.of(base)
    committed = [folder.parent.name for folder in ROOT.glob("scales/*/results")]
    for scale in ("", "demo", *committed):
        overlay = [ROOT / "workflow" / "scales" / f"{scale}.yaml"] if scale else []
        p = params.load(PARAMS, *overlay)
        plan, home = inputs.Plan.of(p), ROOT / p.directory
        for name, spec in load.pages(REPORT, p)["tables"].items():
            files = inputs.results(spec, plan)
            records: list[Record] = made_up(files, plan)
            if scale in committed:
                records = [query.read(home / f) for f in files if (home / f).is_file()]
            if records:
                names = inputs.context_of(spec, plan, paper)
                found[f"{p.scale}/{name}"] = render(draw(spec, names, records)[0], "tex")
    return found


@pytest.mark.skipif(PDFLATEX is None, reason="needs texlive-latex-recommended, lmodern")
def test_every_table_fits_the_line_and_the_page(tmp_path: Path) -> None:
    texts = {**tables(), "control": WIDE}
    parts = (f"\\typeout{{<{name}>}}\n{text}\\clearpage\n" for name, text in texts.items())
    (tmp_path / "all.tex").write_text(HEAD + "".join(parts) + "\\end{document}\n")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(encoding="latin-1")
    of = re.split(r"^<(.+)>$", log, flags=re.M)[1:]
    told = r"^(?:Overfull \\hbox|LaTeX Warning: Float too large).*"
    problems = {
        name: found
        for name, text in zip(of[::2], of[1::2], strict=True)
        if (found := re.findall(told, text, flags=re.M))
    }
    assert len(of) // 2 == len(texts)
    assert set(problems) == {"control"}, problems


@pytest.mark.skipif(PDFLATEX is None, reason="needs texlive-latex-recommended, lmodern")
def test_no_letter_is_wider_than_it_is_counted(tmp_path: Path) -> None:
    """A table with many of one that is would be set too wide."""
    letters = [*map(chr, range(33, 127)), *"±–−†·√×≠φλ"]
    boxes = (f"\\setbox0\\hbox{{{latex(c)}}}\\typeout{{<{ord(c)}>\\the\\wd0}}\n" for c in letters)
    (tmp_path / "letters.tex").write_text(HEAD + "".join(boxes) + "\\end{document}\n")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "letters.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    real = re.findall(r"^<(\d+)>([\d.]+)pt", done.stdout, flags=re.M)
    assert len(real) == len(letters)
    assert [chr(int(c)) for c, w in real if float(w) / 10 > _letter(chr(int(c))) + 0.02] == []
