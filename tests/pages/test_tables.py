"""Accuracy tables from made-up results: every number, the words and the markup, the refusals."""

import json
import math
import re
import sys
from pathlib import Path

import pytest
from page_reading import Outline, Write, plain, read_csv, table, table_spec
from page_records import Record, as_written, few_shot

from multistep import cli
from multistep.files import UserError
from multistep.pages import record
from multistep.pages.context import Context
from multistep.pages.layout import MINUS, signed
from multistep.pages.spec import Spec

RATES = {"maml": {"5way_1shot": 0.01, "20way_1shot": 0.04}, "multistep8": {"5way_1shot": 0.01}}


@pytest.fixture
def rated(table_json: Record) -> Spec:
    """With intervals over episodes, and inner learning rates that the paper chose (Table 5)."""
    paper = table_json["paper"] | {"interval_n": "episodes", "inner_lr": RATES}
    return table_spec(table_json | {"paper": paper})


def test_a_difference_that_is_printed_as_zero_has_no_sign() -> None:
    told = [signed(0.0), signed(-0.004), signed(-0.4, 0), signed(-0.005), signed(1234.5, 1)]
    assert told == ["0.00", "0.00", "0", f"{MINUS}0.01", "+1,234.5"]
    assert signed(math.nan) is None


def test_csv_holds_every_number(results: list[Record], write: Write) -> None:
    rows = read_csv(write(results)["csv"])
    tidy = "row column ours ours_low ours_high n paper paper_spread gap"
    assert list(rows[0])[:9] == tidy.split()
    assert [(row["row"], row["column"]) for row in rows] == [
        (row, column)
        for row in ("maml", "multistep8", "reptile_literature")
        for column in ("5way_1shot", "20way_1shot")
    ]
    maml, absent, multistep, _, literature, _ = rows
    # Seeds average to 40, 60, 50, 50 per episode: mean 50, population s = sqrt(50).
    # Means of the seeds are 40 and 60: sample sd = sqrt(200), t(1) = 12.7062.
    half_width = 1.96 * math.sqrt(50 / 4)
    numbers = {
        "ours": 50, "ours_low": 50 - half_width, "ours_high": 50 + half_width, "n": 2,
        "episodes": 4, "seed_sd": math.sqrt(200), "seed_t95": 127.062, "paper": 50,
        "paper_spread": 8, "paper_half_width": 8 / math.sqrt(32), "gap": 0, "iterations": 60000,
        "meta_batch": 32,
    }  # fmt: skip
    assert {key: float(maml[key]) for key in numbers} == pytest.approx(numbers, abs=1e-3)
    for row, texts in (
        (maml, {"within": "yes", "note": "", "scale": "paper", "data": "Omniglot"}),
        (absent, {"ours": "", "n": "0", "paper": "40", "gap": ""}),
        (multistep, {"ours": "90", "n": "1", "seed_sd": "", "note": "Odd & rare."}),
        (multistep, {"exact": "92.5", "exact_half_width": "3.25"}),
        (literature, {"ours": "", "n": "0", "paper": "97.68", "section": "literature"}),
    ):
        assert {key: row[key] for key in texts} == texts


@pytest.mark.parametrize(
    ("scaled", "verdicts"),
    [
        # Ours has next to no spread; the paper's 8 / sqrt(32) = 1.4142 around 50 ± 0.0244
        # (float16), which is finer just below one half; or its 8 as printed.
        (True, {51.43: "yes", 51.45: "no", 48.58: "yes", 48.56: "no"}),
        (False, {58.0: "yes", 58.05: "no", 42.0: "yes", 41.95: "no"}),
    ],
)
def test_a_gap_outside_the_joint_interval_is_called_so(
    spec: Spec, rated: Spec, context: Context, scaled: bool, verdicts: dict[float, str]
) -> None:
    for ours, verdict in verdicts.items():
        result = few_shot(episodes=[ours - 1e-3, ours + 1e-3], inner_lr=0.01)
        assert table(spec if scaled else rated, context, [result])[0].within == verdict
    equal = few_shot(episodes=[ours, ours], inner_lr=0.01)  # says nothing of other episodes
    assert table(spec if scaled else rated, context, [equal])[0].within == ""


def test_the_page_follows_the_layout_of_the_paper_with_ours_first(
    results: list[Record], write: Write
) -> None:
    texts = write(results)
    lines = plain(texts["md"]).splitlines()
    assert lines[0] == "**Table 9.** Omniglot: accuracy (%)"
    assert "*scale: paper; data: Omniglot*" in lines
    start = lines.index("| Method | 5-way 1-shot | 20-way 1-shot |")
    assert lines[start + 2 : start + 15] == [
        "| *Ours on Omniglot, the paper's on Omniglot* |  |  |",
        "| MAML (ours) | 50.00 ± 6.93 | – |",
        "| seeds | sd 14.14, n = 2 | – |",
        "| paper | 50.00 ± 8.00 [1.41] | 40.00 ± 4.00 [1.00] |",
        "| gap | 0.00, inside | – |",
        "| Multi-step (8) | 90.00 ± 13.86 | – |",
        "| seeds | n = 1 | – |",
        "| exact adaptation | 92.50 ± 3.25 | – |",
        "| paper | 90.00 ± 0.80 [0.14] | – |",
        "| gap | 0.00, inside | – |",
        "| *Literature on Omniglot, as the paper quotes it* |  |  |",
        "| Reptile† [22] | 97.68 ± 0.04 | 89.4 ± 0.1 |",
        "",
    ]
    text = "\n".join(lines)
    for phrase in (
        "± as printed [half-width over 600 episodes]. Gap: ours − paper, in points; inside",
        "- Multi-step (8), 5-way 1-shot: Odd & rare.\n",
        "\n- [22] Nichol (2018).",
    ):
        assert phrase in text
    assert not re.search("upper bound|iterate|nner learning rate|[Nn]ot a reproduction", text)


def test_markup_is_escaped_and_each_format_is_whole(results: list[Record], write: Write) -> None:
    texts = write(results)
    assert "50% of a\\_b \\| \\<c\\> $d$ #e ~ ^ { } \\\\ \\[f\\] are escaped." in texts["md"]
    tex, html = texts["tex"], texts["html"]
    for phrase in (
        "50\\% of a\\_b \\textbar{} \\textless{}c\\textgreater{} \\$d\\$ \\#e "
        "\\textasciitilde{} \\textasciicircum{} \\{ \\} "
        "\\textbackslash{} {[}f] are escaped.",
        "Reptile$\\dagger$ {[}22] & 97.68\\,$\\pm$\\,0.04 & 89.4\\,$\\pm$\\,0.1 \\\\",
        "MAML (ours) & 50.00\\,$\\pm$\\,6.93 & -- \\\\",
    ):
        assert phrase in tex
    assert [tex.count(f"\\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 2, 1]
    assert tex.isascii()
    outline = Outline(html)
    assert outline.open == []
    assert {scope: outline.scopes.count(scope) for scope in outline.scopes} == {
        "col": 3, "rowgroup": 2, "row": 10,
    }  # fmt: skip
    for phrase in (
        "50% of a_b | &lt;c&gt; $d$ #e", "Odd &amp; rare.", '<html lang="en">',
        "<caption>Table 9. Omniglot: accuracy (%)</caption>", "prefers-color-scheme: dark",
        "position: sticky",
    ):  # fmt: skip
        assert phrase in html
    assert not re.search(r"<(script|link|img)|https?://", html)


def test_how_long_was_trained_is_said(write: Write) -> None:
    texts = write([few_shot(), few_shot("20way_1shot", iterations=1500, meta_batch=4)])
    training = (
        "Training. 5-way 1-shot: 60,000 meta-iterations of 32 tasks (as the paper); "
        "20-way 1-shot: 1,500 meta-iterations of 4 tasks "
        "(the paper: 60,000 meta-iterations of 16 tasks)."
    )
    assert all(training in texts[kind] for kind in ("md", "tex", "html"))


def test_a_run_that_is_not_the_paper_s_is_not_judged(
    spec: Spec, rated: Spec, context: Context, write: Write
) -> None:
    differences = {"5way_1shot/omniglot/maml": "queries 1 (the paper's: 15); shots 2 (none)"}
    other = context.model_copy(update={"differences": differences})
    for names, page, result, differs in (
        (context, spec, few_shot(), ""),
        (context, spec, few_shot(iterations=1500, meta_batch=4),
         "1,500 meta-iterations of 4 tasks (the paper's: 60,000 meta-iterations of 32 tasks)"),
        (other, spec, few_shot(), differences["5way_1shot/omniglot/maml"]),
        (context, rated, few_shot(inner_lr=0.04), "inner_lr 0.04 (the paper's: 0.01)"),
        (context, rated, few_shot(inner_lr=0.04, chosen={0.04: 50.0}), ""),  # by validation
    ):  # fmt: skip
        row = table(page, names, [result])[0]
        judged = (None, None) if differs else (0.0, "yes")
        assert (row.gap, row.within, row.otherwise) == (*judged, differs)
    given = [few_shot(), few_shot(method="multistep8")]
    text = write(given, context=other)["md"]
    told = "- Run otherwise than the paper scale, so no gap is given: "
    assert f"{told}queries 1 (the paper's: 15), shots 2 (none).\n" in text
    assert "as the paper)" not in text
    assert text.count("inside</sub>") + text.count("outside</sub>") == 1  # the other method's
    differences["5way_1shot/omniglot/multistep8"] = "shots 2 (none)"
    text = write(given, context=other.model_copy(update={"differences": differences}))["md"]
    rest = "5-way 1-shot of MAML (ours): queries 1 (the paper's: 15)"
    assert f"{told}shots 2 (none); {rest}.\n" in text


def test_a_stand_in_is_named_everywhere_and_never_compared(stand_in: Context, write: Write) -> None:
    texts = write([few_shot(scale="demo", dataset="omniglot_standin")], context=stand_in)
    for kind in ("md", "tex", "html"):
        assert "Stand-in data, not a reproduction of the paper" in texts[kind]
        assert "data: Drawn characters (stand-in)" in texts[kind]
        shown = texts[kind].partition("</style>")[2] or texts[kind]
        assert not re.search(r"\b(gap|inside|outside|joint)\b", shown)
    assert "Drawn characters (stand-in): accuracy" in texts["html"]
    maml = read_csv(texts["csv"])[0]
    assert (maml["scale"], maml["data"]) == ("demo", "Drawn characters (stand-in)")
    assert [maml[key] for key in ("ours", "paper", "gap", "within", "note")] == [
        *("50", "50", "", "", "Not compared: stand-in data."),
    ]


def test_a_table_without_any_result_has_its_printed_numbers(write: Write) -> None:
    texts = write([])
    assert {row["n"] for row in read_csv(texts["csv"])} == {"0"}
    assert "| MAML (ours) | – | – |" in texts["md"]
    assert not re.search("gap|test episodes of the mean", texts["md"])
    assert "Training. 5-way 1-shot and 20-way 1-shot: not run." in texts["md"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "demo"}, "5way_1shot/omniglot/maml/1: made at scale demo, but .* is paper"),
        ({"seed": 0}, "5way_1shot/omniglot/maml/0: two files of one name"),
        ({"iterations": 10}, r"different settings.iterations \(60000 and 10\)"),
        ({"episodes": [50.0]}, r"different numbers of episodes \(\[1, 2\]\)"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(
    spec: Spec, context: Context, changes: Record, message: str
) -> None:
    results = [few_shot(seed=0), few_shot(**({"seed": 1} | changes))]
    with pytest.raises(UserError, match=message):
        table(spec, context, results)


def test_results_of_other_tables_are_left_out_but_not_all(spec: Spec, context: Context) -> None:
    others = [few_shot("10way_1shot"), few_shot(method="fomaml"), few_shot(dataset="x")]
    assert table(spec, context, [*others, few_shot()])[0].n == 1
    with pytest.raises(UserError, match="none of the 3 results belongs to Table 9"):
        table(spec, context, others)


def test_chosen_rates_and_iterates_stand_beside_the_paper_s(rated: Spec, write: Write) -> None:
    chosen = {0.1: None, 0.004: 31.25, 0.04: 45.678}
    results = [
        few_shot(seed=0, inner_lr=0.04, chosen=chosen, last=(900, 48.0, 1.0)),
        few_shot(seed=1, inner_lr=0.04, chosen=chosen, last=(1000, 46.0, 2.0)),
        few_shot(method="multistep8", inner_lr=0.01),
    ]
    texts = write(results, rated)
    rows = {(r["row"], r["column"]): r for r in read_csv(texts["csv"]) if r["section"] == "ours"}
    keys = ["inner_lr", "paper_inner_lr", "candidates", "tested", "last", "last_half_width"]
    assert [[rows[name][key] for key in keys] for name in list(rows)[:3]] == [
        ["0.04", "0.01", "0.004: 31.25; 0.04: 45.68; 0.1: diverged", "900 1000", "47", "1.5"],
        ["", "0.04", "", "", "", ""],
        ["0.01", "0.01", "", "", "", ""],
    ]
    maml = rows["maml", "5way_1shot"]
    assert (maml["paper_spread"], maml["paper_half_width"]) == ("8", "8")  # as printed
    lines = plain(texts["md"]).splitlines()
    for line in (
        "| paper | 50.00 ± 8.00 | 40.00 ± 4.00 |",
        "| last iterate | 47.00 ± 1.50 | – |",
        "| *Inner learning rate: ours / the paper's* |  |  |",
        "| MAML (ours) | 0.04 / 0.01 | – / 0.04 |",
        "| Multi-step (8) | 0.01 / 0.01 | – / – |",
        "- The tested network is the iterate with the highest accuracy on validation classes; "
        "last iterate: the one after all meta-iterations; its ± is the mean of the seeds' "
        "half-widths, an upper bound.",
        "- Our inner learning rate is chosen by accuracy on validation classes where the csv has "
        "candidates; the csv has that of every candidate.",
    ):
        assert line in lines, line
    assert any("Paper: as printed, with its 95% interval over 600 episodes." in x for x in lines)
    text = write(results[:2], rated)["md"]
    assert "is chosen for each cell by accuracy on validation classes;" in text
    assert "after all meta-iterations.\n" in write(results[:1], rated)["md"]


def test_a_row_of_the_literature_may_have_a_method_s_name(table_json: Record, write: Write) -> None:
    table_json["literature"]["maml"] = table_json["literature"].pop("reptile_literature")
    text = write([few_shot()], table_spec(table_json))["md"]
    assert "| Reptile† \\[22\\] | 97.68 ± 0.04 | 89.4 ± 0.1 |" in text
    assert "| MAML (ours) | 50.00 ± 13.86 | – |" in text


def test_a_table_beyond_the_paper_says_so(table_json: Record, write: Write) -> None:
    texts = write([], table_spec(table_json | {"beyond": True}))
    assert texts["md"].startswith("**Table 9.** Omniglot: accuracy (%). Not in the paper.\n")
    assert "<title>Table 9. Omniglot: accuracy (%). Not in the paper.</title>" in texts["html"]
    assert "\\caption{Omniglot: accuracy (\\%). Not in the paper.}" in texts["tex"]


def test_the_command_line_writes_the_same_files(
    tmp_path: Path, context: Context, results: list[Record], capsys: pytest.CaptureFixture[str],
    table_json: Record, write: Write,
) -> None:  # fmt: skip
    made = [as_written(result) for result in results]
    expected = write(made)
    files = []
    for i, result in enumerate(made):
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps(result), encoding="utf-8")
    arguments = ["report", "table", "--name", "table9", "--spec", json.dumps(table_json)]
    arguments += ["--context", context.model_dump_json(), "--out", str(tmp_path / "cli" / "table9")]
    assert cli.main([*arguments, *map(str, files)]) == 0
    written = {p.suffix[1:]: p.read_text(encoding="utf-8") for p in (tmp_path / "cli").iterdir()}
    assert written == expected
    with pytest.MonkeyPatch.context() as patch:  # killed before its record, and once more
        for other in (tmp_path / "cli").iterdir():
            other.unlink()
        patch.setattr(record, "write", lambda *_: sys.exit(137))
        with pytest.raises(SystemExit):
            cli.main([*arguments, *map(str, files)])
    assert {p.name for p in (tmp_path / "cli").iterdir()} == {
        *(f"table9.{form}" for form in record.SUFFIXES["tables"]), "table9.json.tmp",
    }  # fmt: skip
    assert cli.main([*arguments, *map(str, files)]) == 0
    written = {p.suffix[1:]: p.read_text(encoding="utf-8") for p in (tmp_path / "cli").iterdir()}
    assert written == expected
    capsys.readouterr()
    assert cli.main([*arguments, str(tmp_path / "absent.json")]) == 2
    assert "absent.json: no such file" in capsys.readouterr().err
    arguments[arguments.index("--context") + 1] = "{"
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: --context: not valid JSON")
