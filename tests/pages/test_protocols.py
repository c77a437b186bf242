"""The table of protocols and floors, from made-up evaluations."""

import json

import pytest
import records
from page_reading import read_csv, table_spec
from page_records import few_shot

from multistep import stats
from multistep.files import UserError
from multistep.pages.context import Context
from multistep.pages.tables import write_table

VALUES = {
    "kind": "protocols",
    "title": "Protocols",
    "caption": "{data}",
    "experiment": "5way_1shot",
    "dataset": "omniglot",
    "methods": ["maml", "fomaml"],
    "columns": {"together": "all", "alone": "one"},
}
CONTEXT = Context(scale="paper", datasets={"omniglot": "Omniglot"}, methods={"maml": "MAML (ours)"})


def evaluation(seed=0, first=40.0, **changes):
    cell = few_shot(seed=seed)["cell"]
    cell["settings"]["test_episodes"] = 4
    record = records.evaluation({"cell": cell}, first)
    return record | {"settings": record["settings"] | changes}


def test_means_over_seeds_with_their_floors(tmp_path):
    paths = write_table(
        tmp_path / "t", table_spec(VALUES), CONTEXT, [evaluation(), evaluation(1, 60.0)]
    )
    texts = {path.suffix: path.read_text() for path in paths}
    rows = read_csv(texts[".csv"])
    assert [(row["row"], row["column"]) for row in rows] == [
        (row, column) for row in ("maml", "nearest") for column in ("together", "alone")
    ]
    trained, added = (stats.over_episodes(v) for v in ([50, 60, 60, 60], [30, 10, 10, 10]))
    assert float(rows[0]["ours"]) == trained.mean
    assert float(rows[0]["ours_high"]) == pytest.approx(trained.high, abs=1e-4)
    assert [float(rows[0][k]) for k in ("n", "untrained", "head", "adds")] == [2, 42.5, 30, 15]
    assert float(rows[0]["adds_half"]) == pytest.approx(added.half_width, abs=1e-4)
    assert (rows[2]["n"], rows[2]["ours"], rows[2]["adds"]) == ("1", "27.5", "")
    assert f"+15.00 ± {added.half_width:.2f}" in texts[".md"]
    assert "Tested on 4 episodes, the same for all rows; seeds: n = 2." in texts[".md"]
    assert json.loads(texts[".json"])["kind"] == "page"


@pytest.mark.parametrize("change", [{"steps": 2}, {"episodes": 8}, {"rate": 0.1}, {"window": 1}])
def test_an_evaluation_with_other_settings_is_not_shown(tmp_path, change):
    with pytest.raises(UserError, match="maml/0: evaluated with other settings than"):
        write_table(tmp_path / "t", table_spec(VALUES), CONTEXT, [evaluation(**change)])


def _md(tmp_path, *records):
    write_table(tmp_path / "t", table_spec(VALUES), CONTEXT, records)
    return (tmp_path / "t.md").read_text()


def test_what_is_not_the_same_for_all_rows_is_told(tmp_path):
    """Methods that are missing, of fewer seeds, or tested on others of the episodes."""
    some = [evaluation(), evaluation(1)]
    assert "- Not tested: fomaml.\n" in _md(tmp_path, *some)
    other = evaluation()
    other["cell"]["method"] = "fomaml"
    text = _md(tmp_path, *some, other)
    assert "4 episodes, the same for all rows; seeds: n = 2 (fomaml: 1)." in text
    assert "Not tested" not in text
    for row in other["rows"]["nearest pixels"].values():
        row["episodes"] = [30.0, *row["episodes"][1:]]
    told = "4 episodes, not the same for all rows; the nearest pixels on those of the first;"
    assert told in _md(tmp_path, *some, other)
    for rows in other["rows"].values():
        for row in rows.values():
            row["episodes"] = row["episodes"][:2]
    other["cell"]["settings"]["test_episodes"] = other["settings"]["episodes"] = 2
    assert "Tested on 2 or 4 episodes, not the same for all rows" in _md(tmp_path, *some, other)


def test_where_tests_were_made_is_told_as_of_results(tmp_path):
    other = evaluation(1)
    other["environment"] |= {"dirty": True, "cpu": "Another CPU"}
    text = _md(tmp_path, evaluation(), other)
    assert "MAML (ours): results differ in where they were made: cpu Another CPU and" in text
    assert "1 of 2 records were made by code that differed from its commit." in text
