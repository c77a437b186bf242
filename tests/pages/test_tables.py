"""Tables from made-up results: every number of the csv, the words of the pages, the refusals."""

import json
import math
import re
from pathlib import Path

import pytest
from page_records import Record, Write, few_shot, read_csv, table

from multistep import cli
from multistep.files import UserError
from multistep.pages.context import Context
from multistep.pages.spec import Spec


def test_csv_holds_every_number(results: list[Record], write: Write) -> None:
    rows = read_csv(write(results)["csv"])
    assert list(rows[0])[:9] == [
        *("row", "column", "ours", "ours_low", "ours_high", "n", "paper", "paper_spread", "gap")
    ]
    assert [(row["row"], row["column"]) for row in rows] == [
        ("maml", "5way_1shot"),
        ("maml", "20way_1shot"),
        ("multistep8", "5way_1shot"),
        ("multistep8", "20way_1shot"),
        ("reptile_literature", "5way_1shot"),
        ("reptile_literature", "20way_1shot"),
    ]
    maml, absent, multistep, _, literature, _ = rows
    assert (literature["ours"], literature["n"], literature["paper"]) == ("", "0", "97.68")
    # Seeds average to 40, 60, 50, 50 per episode: mean 50, population s = sqrt(50).
    half_width = 1.96 * math.sqrt(50 / 4)
    assert float(maml["ours"]) == 50
    assert float(maml["ours_low"]) == pytest.approx(50 - half_width, abs=1e-4)
    assert float(maml["ours_high"]) == pytest.approx(50 + half_width, abs=1e-4)
    assert (maml["n"], maml["episodes"]) == ("2", "4")
    # Means of the seeds are 40 and 60: sample sd = sqrt(200), t(1) = 12.7062.
    assert float(maml["seed_sd"]) == pytest.approx(math.sqrt(200), abs=1e-4)
    assert float(maml["seed_t95"]) == pytest.approx(12.7062 * 10, abs=1e-3)
    assert (maml["paper"], maml["paper_spread"], maml["gap"]) == ("50", "8", "0")
    assert float(maml["paper_half_width"]) == pytest.approx(8 / math.sqrt(32), abs=1e-4)
    assert (maml["within"], maml["note"]) == ("yes", "")
    assert (maml["iterations"], maml["meta_batch"]) == ("60000", "32")
    assert (maml["scale"], maml["data"]) == ("paper", "Omniglot")
    assert (absent["ours"], absent["n"], absent["paper"], absent["gap"]) == ("", "0", "40", "")
    assert (multistep["ours"], multistep["n"], multistep["seed_sd"]) == ("90", "1", "")
    assert (multistep["exact"], multistep["exact_half_width"]) == ("92.5", "3.25")
    assert multistep["note"] == "Odd & rare."


def test_a_gap_outside_the_joint_interval_is_called_so(spec: Spec, context: Context) -> None:
    # Ours has no spread; the paper's 8 / sqrt(32) = 1.4142 around 50 +- 0.0244 (float16).
    rows = {
        ours: table(spec, context, [few_shot(episodes=[ours, ours])])[0]
        for ours in (51.43, 51.45, 48.58, 48.56)
    }
    assert {ours: row.within for ours, row in rows.items()} == {
        51.43: "yes",  # below 50.0244 + 1.4142
        51.45: "no",
        48.58: "yes",  # above 49.9878 - 1.4142: float16 is finer just below one half
        48.56: "no",
    }


def test_the_page_has_gaps_where_there_is_any_and_says_what_they_are(
    results: list[Record], write: Write
) -> None:
    lines = write(results)["md"].splitlines()
    assert lines.count("| &emsp;<sub>gap</sub> | <sub>+0.00, inside</sub> | <sub>–</sub> |") == 2
    legend = "± as printed \\[half-width over 600 episodes\\]. Gap: ours − paper, in points; inside"
    assert any(legend in line for line in lines)
    assert not any("upper bound" in line for line in lines)


def test_a_run_that_is_not_the_paper_s_is_not_judged(
    spec: Spec, context: Context, write: Write
) -> None:
    shorter = few_shot(iterations=1500, meta_batch=4)
    row = table(spec, context, [shorter])[0]
    assert (row.gap, row.within) == (None, None)
    assert row.otherwise == "1,500 meta-iterations of 4 tasks (the paper's: 60,000 of 32)"
    differences = {"5way_1shot/omniglot/maml": "queries 1 (the paper's: 15)"}
    other = context.model_copy(update={"differences": differences})
    assert table(spec, context, [few_shot()])[0].gap == 0.0
    row = table(spec, other, [few_shot()])[0]
    assert (row.gap, row.within, row.otherwise) == (None, None, "queries 1 (the paper's: 15)")
    text = write([few_shot(), few_shot(method="multistep8")], context=other)["md"]
    assert (
        "- Run otherwise than the paper's, so no gap is given: queries 1 (the paper's: 15).\n"
    ) in text
    assert "as the paper)" not in text
    assert text.count("inside</sub>") + text.count("outside</sub>") == 1  # the other method's


def test_a_stand_in_is_named_everywhere_and_never_compared(stand_in: Context, write: Write) -> None:
    texts = write([few_shot(scale="demo", dataset="omniglot_standin")], context=stand_in)
    for text in (
        "Stand-in data, not a reproduction of the paper",
        "data: Drawn characters (stand-in)",
    ):
        assert all(text in texts[kind] for kind in ("md", "tex", "html"))
    assert "Drawn characters (stand-in): accuracy" in texts["html"]
    maml = read_csv(texts["csv"])[0]
    assert (maml["scale"], maml["data"]) == ("demo", "Drawn characters (stand-in)")
    assert (maml["within"], maml["note"]) == ("", "Not compared: stand-in data.")
    for kind in ("md", "tex", "html"):
        assert not re.search(r"\b(gap|inside|outside|joint)\b", texts[kind])


def test_a_table_without_any_result_has_its_printed_numbers(write: Write) -> None:
    texts = write([])
    rows = read_csv(texts["csv"])
    assert {row["n"] for row in rows} == {"0"}
    assert "| MAML (ours) | – | – |" in texts["md"]
    assert "gap" not in texts["md"]
    assert "Training. 5-way 1-shot and 20-way 1-shot: not run." in texts["md"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "demo"}, "5way_1shot/omniglot/maml/1: made at scale demo, but .* is paper"),
        ({"seed": 0}, "5way_1shot/omniglot/maml/0: two results for one seed"),
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
    others = [
        few_shot("10way_1shot"),
        few_shot(method="fomaml"),
        few_shot(dataset="x"),
    ]
    assert table(spec, context, [*others, few_shot()])[0].n == 1
    with pytest.raises(UserError, match="none of the 3 results belongs to Table 9"):
        table(spec, context, others)


def test_the_command_line_writes_the_same_files(
    tmp_path: Path,
    context: Context,
    results: list[Record],
    capsys: pytest.CaptureFixture[str],
    table_json: Record,
    write: Write,
) -> None:
    expected = write(results)
    files = []
    for i, result in enumerate(results):
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps(result), encoding="utf-8")
    arguments = ["report", "table", "--name", "table9", "--spec", json.dumps(table_json)]
    arguments += ["--context", context.model_dump_json(), "--out", str(tmp_path / "cli" / "table9")]
    assert cli.main([*arguments, *map(str, files)]) == 0
    written = {p.suffix[1:]: p.read_text(encoding="utf-8") for p in (tmp_path / "cli").iterdir()}
    assert written == expected
    capsys.readouterr()

    assert cli.main([*arguments, str(tmp_path / "absent.json")]) == 2
    assert "absent.json: no such file" in capsys.readouterr().err
    arguments[arguments.index("--context") + 1] = "{"
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: --context: not valid JSON")
