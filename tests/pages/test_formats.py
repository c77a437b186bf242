"""The words and the markup of a table's pages, from made-up results."""

import re

from page_records import Outline, Record, Write, few_shot


def test_markdown_follows_the_layout_of_the_paper(results: list[Record], write: Write) -> None:
    lines = write(results)["md"].splitlines()
    assert lines[0] == "**Table 9.** Omniglot: accuracy (%)"
    assert "*scale: paper; data: Omniglot*" in lines
    start = lines.index("| Method | 5-way 1-shot | 20-way 1-shot |")
    body = [re.sub(r"</?sub>|&emsp;", "", line) for line in lines[start + 2 : start + 15]]
    assert body == [
        "| *Ours on Omniglot, the paper's on Omniglot* |  |  |",
        "| MAML (ours) | 50.00 ± 6.93 | – |",
        "| seeds | sd 14.14, n = 2 | – |",
        "| paper | 50.00 ± 8.00 \\[1.41\\] | 40.00 ± 4.00 \\[1.00\\] |",
        "| gap | +0.00, inside | – |",
        "| Multi-step (8) | 90.00 ± 13.86 | – |",
        "| seeds | n = 1 | – |",
        "| exact adaptation | 92.50 ± 3.25 | – |",
        "| paper | 90.00 ± 0.80 \\[0.14\\] | – |",
        "| gap | +0.00, inside | – |",
        "| *Literature on Omniglot, as the paper quotes it* |  |  |",
        "| Reptile† \\[22\\] | 97.68 ± 0.04 | 89.4 ± 0.1 |",
        "",
    ]
    assert "- Multi-step (8), 5-way 1-shot: Odd & rare." in lines
    assert "- \\[22\\] Nichol (2018)." in lines


def test_the_caption_says_how_long_was_trained(write: Write) -> None:
    results = [
        few_shot(iterations=60000, meta_batch=32),
        few_shot("20way_1shot", iterations=1500, meta_batch=4),
    ]
    texts = write(results)
    training = (
        "Training. 5-way 1-shot: 60,000 meta-iterations of 32 tasks (as the paper); "
        "20-way 1-shot: 1,500 meta-iterations of 4 tasks (the paper: 60,000 of 16)."
    )
    assert all(training in texts[kind] for kind in ("md", "tex", "html"))


def test_markup_is_escaped_in_every_format(results: list[Record], write: Write) -> None:
    texts = write(results)
    assert "50% of a\\_b \\| \\<c\\> $d$ #e ~ ^ { } \\\\ \\[f\\] are escaped." in texts["md"]
    assert (
        "50\\% of a\\_b | <c> \\$d\\$ \\#e \\textasciitilde{} \\textasciicircum{} \\{ \\} "
        "\\textbackslash{} {[}f] are escaped."
    ) in texts["tex"]
    assert "50% of a_b | &lt;c&gt; $d$ #e" in texts["html"]
    assert "Odd &amp; rare." in texts["html"]


def test_latex_uses_booktabs_and_only_ascii(results: list[Record], write: Write) -> None:
    tex = write(results)["tex"]
    assert [tex.count(f"\\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 2, 1]
    assert "Reptile$\\dagger$ {[}22] & 97.68\\,$\\pm$\\,0.04 & 89.4\\,$\\pm$\\,0.1 \\\\" in tex
    assert "MAML (ours) & 50.00\\,$\\pm$\\,6.93 & -- \\\\" in tex
    assert tex.isascii()


def test_html_stands_alone_and_names_its_headers(results: list[Record], write: Write) -> None:
    html = write(results)["html"]
    outline = Outline(html)
    assert outline.open == []
    assert outline.scopes.count("col") == 3
    assert outline.scopes.count("rowgroup") == 2
    assert outline.scopes.count("row") == len(outline.scopes) - 5
    assert '<html lang="en">' in html
    assert "<caption>Table 9. Omniglot: accuracy (%)</caption>" in html
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r"<(script|link|img)|https?://", html)
