"""Benchmark tables from made-up results and measurements: every number, and what is left out."""

import copy
from pathlib import Path

import pytest
from page_reading import Write, read_csv, table, table_spec
from page_records import Record, as_written, few_shot, few_shot_times, transfer

from multistep.files import UserError
from multistep.job import results
from multistep.pages import measured
from multistep.pages.context import Context
from multistep.pages.spec import Spec

BENCHMARK: Record = {
    "kind": "benchmark",
    "title": "Extended table 9, beyond the paper",
    "caption": "{data}: all methods",
    "beyond": True,
    "dataset": "cifar_fs",
    "columns": {"cifar_1shot": "5-way 1-shot", "cifar_5shot": "5-way 5-shot"},
    "methods": ["maml", "multistep4", "imaml"],
    "literature": {
        "maml_library": {
            "title": "MAML, a library",
            "source": "library",
            "spread": "standard deviation",
            "values": {"cifar_1shot": [57.06, 3.83], "cifar_5shot": [72.2]},
        },
        "imaml": {"title": "iMAML", "source": "paper", "values": {"cifar_5shot": [70.0, 1.5]}},
    },
    "notes": ["A note of the table."],
    "references": {"library": "A library.", "paper": "[25] A paper."},
}
ROWS: list[tuple[str, int, list[float], int]] = [
    ("maml", 8, [0.9, 0.8, 1.0, 2.0, 0.7], 800_000_000),
    ("maml", 4, [0.5, 0.5, 0.5, 0.5, 0.5], 400_000_000),
    ("multistep4", 8, [0.45, 0.45, 0.45, 0.45, 0.45], 300_000_000),
    ("imaml", 4, [0.5, 0.5, 0.5, 0.5, 0.5], 100_000_000),
    ("imaml", 8, [0.6, 0.6, 0.6, 0.6, 0.6], 100_000_000),
]


@pytest.fixture
def context() -> Context:
    return Context(
        scale="paper",
        datasets={"cifar_fs": "CIFAR-FS", "fc100": "FC100", "drawn": "Drawn (stand-in)"},
        methods={"maml": "MAML (ours)", "multistep4": "Multi-step (4)", "imaml": "iMAML (ours)"},
    )


@pytest.fixture
def spec() -> Spec:
    return table_spec(copy.deepcopy(BENCHMARK))


@pytest.fixture
def measurement() -> Record:
    """iMAML is trained with 16 inner steps, of which at most eight were measured."""
    return few_shot_times(
        "cifar_1shot", rows=ROWS, dataset="cifar_fs", settings={"imaml": {"inner_steps": 16}}
    )


@pytest.fixture
def given(measurement: Record) -> list[Record]:
    """Two seeds of MAML, one of iMAML, and times and memory, all in the first column."""
    cell = {"experiment": "cifar_1shot", "dataset": "cifar_fs"}
    return [
        few_shot(seed=1, episodes=[50.0, 70.0, 50.0, 70.0], **cell),
        few_shot(seed=0, episodes=[30.0, 50.0, 50.0, 30.0], **cell),
        few_shot(method="imaml", iterations=100, meta_batch=5, **cell),
        measurement,
    ]


def read(text: str) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """The csv by (section, row, column, quantity), which tell all rows apart."""
    rows = read_csv(text)
    found = {(r["section"], r["row"], r["column"], r["quantity"]): r for r in rows}
    assert len(found) == len(rows)
    return found


def test_csv_holds_accuracy_time_and_memory(given: list[Record], write: Write) -> None:
    rows = read(write(given)["csv"])
    assert len(rows) == 3 * 2 * 3 + 2 * 2
    maml = rows["ours", "maml", "cifar_1shot", "accuracy"]
    assert (maml["ours"], maml["n"], maml["episodes"]) == ("50", "2", "4")
    assert float(maml["ours_high"]) == pytest.approx(50 + 1.96 * (50 / 4) ** 0.5, abs=1e-4)
    assert float(maml["seed_sd"]) == pytest.approx(200**0.5, abs=1e-4)
    assert (maml["iterations"], maml["meta_batch"], maml["paper"]) == ("60000", "32", "")
    time = rows["ours", "maml", "cifar_1shot", "time"]
    assert [time[k] for k in ("ours", "ours_low", "ours_high", "n")] == ["0.9", "0.8", "1", "5"]
    assert (time["ratio"], time["steps"], time["tasks"]) == ("1", "8", "32")
    assert (time["what"], time["device"]) == ("process seconds", "Imaginary CPU, 1 thread")
    memory = rows["ours", "multistep4", "cifar_1shot", "memory"]
    assert (memory["ours"], memory["ratio"]) == ("300000000", "0.375")
    assert memory["what"] == "bytes saved for backward per task"
    literature = rows["literature", "maml_library", "cifar_1shot", "accuracy"]
    assert (literature["paper"], literature["paper_spread"]) == ("57.06", "3.83")
    assert (literature["ours"], literature["spread"]) == ("", "standard deviation")
    assert rows["literature", "maml_library", "cifar_5shot", "accuracy"]["paper_spread"] == ""


def test_a_method_is_measured_as_it_is_trained_or_with_the_most_steps(
    given: list[Record], measurement: Record, write: Write
) -> None:
    def found(method: str) -> tuple[str, ...]:
        time = read(write([*given[:-1], measurement])["csv"])["ours", method, "cifar_1shot", "time"]
        return time["steps"], time["trained_steps"], time["ours"]

    assert (found("maml"), found("imaml")) == (("8", "8", "0.9"), ("8", "16", "0.6"))
    measurement["cell"]["methods"]["maml"]["settings"]["inner_steps"] = 4
    assert found("maml") == ("4", "4", "0.5")


def test_the_page_has_what_was_run_and_the_literature_beside_it(
    given: list[Record], write: Write
) -> None:
    texts = write(given)
    lines = texts["md"].replace("<sub>", "").replace("</sub>", "").splitlines()
    start = lines.index("| Method | 5-way 1-shot | time | memory |")
    assert [line.replace("&emsp;", "") for line in lines[start + 2 : start + 12]] == [
        "| *Ours on CIFAR-FS* |  |  |  |",
        "| MAML (ours) | 50.00 ± 6.93 | 1.00× | 1.00× |",
        "| T = 8 | sd 14.14, n = 2 | 900 ms | 800 MB |",
        "| Multi-step (4) | – | 0.50× | 0.38× |",
        "| T = 8 | – | 450 ms | 300 MB |",
        "| iMAML (ours) | 50.00 ± 13.86 | 0.67× | 0.12× |",
        "| T = 8 of 16 | n = 1 | 600 ms | 100 MB |",
        "| *Literature on CIFAR-FS, as printed* |  |  |  |",
        "| MAML, a library | 57.06 ± 3.83 |  |  |",
        "",
    ]
    for phrase in (
        "5-way 1-shot: 60,000 meta-iterations of 32 tasks (iMAML: 100 meta-iterations of 5 tasks)",
        "Not run at this scale: 5-way 5-shot.",
        "interval over 4 or 2 test episodes of the mean of the seeds; in small print their",
        "Time: process seconds of a meta-iteration of 32 tasks, median of 5 rounds",
        "Device: Imaginary CPU, 1 thread.",
        "relative to MAML, at T inner steps, as many as each method trains with; where so many "
        "were not measured (T = 8 of 16), the most that were.",
        "A note of the table.",
    ):
        assert all(phrase in texts[kind] for kind in ("md", "tex", "html")), phrase
    assert "± of MAML, a library: standard deviation." in texts["html"]
    assert "Not in the paper" not in texts["md"]  # the title says it
    assert texts["tex"].isascii()
    assert "[25] A paper." not in texts["html"]  # the only row that cites it is left out


def test_methods_without_any_number_are_only_named(write: Write) -> None:
    cell = {"experiment": "cifar_5shot", "dataset": "cifar_fs"}
    given = [
        few_shot(**cell),
        few_shot_times("cifar_1shot", rows=ROWS[:2], dataset="cifar_fs"),
    ]
    texts = write(given)
    text = texts["md"].replace("<sub>", "").replace("</sub>", "")
    for line in (
        "Training. 5-way 1-shot: not run; 5-way 5-shot: 60,000 meta-iterations of 32 tasks.",
        "| MAML (ours) | – | 1.00× | 1.00× | 50.00 ± 13.86 | – | – |",
        "| MAML, a library | 57.06 ± 3.83 |  |  | 72.20 |  |  |",
        "| iMAML \\[25\\] | – |  |  | 70.0 ± 1.5 |  |  |",
        "- Not run at this scale: Multi-step (4), iMAML.",
    ):
        assert line in text.splitlines(), line
    assert "| Multi-step" not in text
    assert "trains with.\n" in text  # every T is the one of training
    assert len(read(texts["csv"])) == 3 * 2 * 3 + 2 * 2


def test_other_numbers_of_tasks_are_not_set_in_relation(write: Write) -> None:
    measurement = few_shot_times(
        "cifar_1shot", rows=ROWS, dataset="cifar_fs", settings={"imaml": {"meta_batch": 5}}
    )
    texts = write([measurement])
    rows = read(texts["csv"])
    odd = rows["ours", "imaml", "cifar_1shot", "time"]
    assert (odd["ours"], odd["tasks"], odd["ratio"]) == ("0.6", "5", "")
    assert rows["ours", "multistep4", "cifar_1shot", "time"]["ratio"] == "0.5"
    odd_tasks = "No ratio where another number of tasks was measured (iMAML, 5-way 1-shot: 5 tasks)"
    assert odd_tasks in texts["html"]


def test_without_the_first_method_there_are_no_ratios(spec: Spec, context: Context) -> None:
    measurement = few_shot_times("cifar_1shot", rows=ROWS[2:], dataset="cifar_fs")
    found = table(spec, context, [measurement])
    assert [row.ours for row in found if row.row == "imaml"][1:3] == [0.6, 100_000_000]
    assert {row.ratio for row in found} == {None}


def test_two_datasets_of_one_experiment_are_never_mixed(
    spec: Spec, context: Context, given: list[Record]
) -> None:
    others = [copy.deepcopy(record) for record in given]
    for other in others:
        other["cell"]["dataset"] = "fc100"
    others[0]["metrics"]["episode_accuracies"] = [0.0] * 4
    assert table(spec, context, [*others, *given]) == table(spec, context, given)
    fc100 = table_spec(BENCHMARK | {"dataset": "fc100"})
    assert table(fc100, context, [*others, *given])[0].ours == 20
    with pytest.raises(UserError, match="none of the 3 results belongs to Extended table 9"):
        table(spec, context, others)


def test_a_stand_in_is_named_and_another_scale_refused(
    spec: Spec, context: Context, given: list[Record], write: Write
) -> None:
    stand_in = context.model_copy(
        update={"scale": "demo", "stand_ins": {"cifar_fs": "drawn"}, "drawn": ["drawn"]}
    )
    with pytest.raises(UserError, match="made at scale paper, but the scale here is demo"):
        table(spec, stand_in, given)
    for record in given:
        record["cell"] |= {"scale": "demo", "dataset": "drawn"}
    text = write(given, context=stand_in)["md"]
    assert "Drawn (stand-in): all methods" in text
    assert "*Ours on Drawn (stand-in)*" in text
    assert "*Literature on CIFAR-FS, as printed*" in text
    assert "Stand-in data, not a reproduction of the paper" in text


def test_without_any_record_only_the_literature_is_there(write: Write) -> None:
    texts = write([])
    assert {row["n"] for row in read(texts["csv"]).values()} == {"0"}
    assert "- Time and memory: not measured." in texts["md"]
    assert "57.06 ± 3.83" in texts["md"]
    assert "Not run at this scale" not in texts["md"]


def test_made_up_records_are_in_the_form_of_real_ones() -> None:
    for record in (few_shot(chosen={0.1: None, 0.4: 40.0}), few_shot_times(rows=ROWS), transfer()):
        results.validate(Path("0.json"), as_written(record))


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("time", 0.00123, "1.23 ms"),
        ("time", 0.25, "250 ms"),
        ("time", 12.34, "12.3 s"),
        ("time", 0.0, "0 ms"),
        ("memory", 1.33e9, "1,330 MB"),
        ("memory", 2.5e9, "2.50 GB"),
    ],
)
def test_seconds_and_bytes_are_readable(quantity: str, value: float, text: str) -> None:
    assert measured.text(quantity, value) == text


def test_without_the_first_method_nothing_is_called_a_ratio(
    spec: Spec, context: Context, write: Write
) -> None:
    others = few_shot_times("cifar_1shot", rows=ROWS[2:], dataset="cifar_fs")
    text = write([others], spec, context=context)["md"]
    assert "×" not in text
    assert "- T: inner steps, as many as each method trains with.\n" in text
