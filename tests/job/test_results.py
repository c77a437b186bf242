"""Results and measurements: sealed, consistent with themselves, and those that the plan expects."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records

from multistep import seal, stats
from multistep.files import UserError, write_json
from multistep.job import parameters, results

ROOT = Path(__file__).resolve().parents[2]
VALID = {name: make() for name, make in {**records.RESULTS, **records.MEASUREMENTS}.items()}

# Fields that only the seal guards, and why nothing else can: whoever changes one and seals the
# record anew is believed. A new field that is neither checked nor listed fails the test below.
ONLY_SEALED = {
    "history.*.train_loss": "measured",
    "history.*.train_accuracy": "measured; within 0 to 100",
    "history.*.meta_gradient_norm": "measured; not negative",
    "history.*.validation_ci95": "its episodes aren't kept; of the best one it is compared",
    "history.*.validation_accuracy": "its episodes aren't kept; of the best one it is compared",
    "history.*.transfer_loss": "measured",
    "history.*.meta_loss": "measured",
    "history.*.meta_decay_norm": "measured",
    "history.*.lambda_mean.*": "measured",
    "history.*.lambda_dead.*": "measured; a share",
    "history.*.masked": "counted, not negative",
    "history.*.drift.*": "measured, or sparser",
    "metrics.exact_adaptation.*": "its episodes aren't kept; an interval they can have",
    "metrics.last.*": "its episodes aren't kept; an interval they can have",
    "metrics.diverged": "text",
    "metrics.train_images": "as many as make the history's mini-batches",
    "timing.history_seconds.*": "measured; in order, not after the end",
    "timing.history_process_seconds": "older results have none",
    "timing.history_process_seconds.*": "measured; in order, not after the end",
    "timing.peak_bytes": "measured",
    "timing.loading_seconds": "measured",
    "timing.evaluation_seconds": "measured",
    "parameters": "of an evaluation: compared with the result's beside it",
    "parameters.digest": "compared with the file's by who reads that",
    "environment.*": "where it was made",
    "made_from.code": "which code made it; the workflow compares it",
    "made_from.choice": "what was chosen is compared with the choice that is there",
    "iterations_per_epoch": "counted from the dataset",
    "rows.*.seconds.*": "measured",
    "rows.*.bytes": "measured",
    "dataset": "its digest is compared",
    "settings.*": "pages compare them with the cell's",
    "rows.*.non_finite_episodes": "counted",
}


def expected(record: dict[str, Any]) -> results.Expected:
    inputs, cell, choice = record["made_from"], copy.deepcopy(record["cell"]), None
    if "chosen" in cell:  # which the plan doesn't know
        choice = cell.pop("chosen")
        del cell["settings"][choice["setting"]]
    return results.Expected(cell, inputs["dataset"], inputs["network"], choice)


@pytest.mark.parametrize("kind", VALID)
def test_what_was_written_is_read_as_expected(tmp_path: Path, kind: str) -> None:
    path, record = tmp_path / "results" / "0.json", VALID[kind]
    frame = {k: v for k, v in record.items() if k not in ("schema", "seal", "made_from")}
    results.write(path, frame, record["made_from"])
    assert results.read(path) == record == results.read(path, expected(record))
    assert [p.name for p in path.parent.iterdir()] == ["0.json"]


@pytest.mark.fault("a field of a result or measurement edited", "refused by its reader")
def test_an_edit_of_any_field_is_refused(tmp_path: Path, record_property: Any) -> None:
    """Sealed anew too, unless nothing else could tell."""
    edits = records.Edits(ONLY_SEALED)
    for kind, record in VALID.items():
        path = tmp_path / kind / "0.json"
        write_json(path, record)
        edits.refused(path, lambda path=path, record=record: results.read(path, expected(record)))
    record_property("injected", edits.done())


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("few_shot", "metrics.test_accuracy", 101.0, "metrics.test_accuracy: .*less than or equal"),
        ("few_shot", "metrics.test_accuracy", 60.0, "no 3 episodes|test_accuracy is 60.0, but"),
        ("few_shot", "metrics.episode_accuracies.0", 33.3, "metrics.episode_accuracies is "),
        ("few_shot", "metrics.episode_accuracies.0", -50.0, "greater than or equal to 0"),
        ("few_shot", "metrics.test_episodes", 600, "metrics.test_episodes is 600, but"),
        ("few_shot", "metrics.iterations", 7, "metrics.iterations is 7, but"),
        ("few_shot", "metrics.best.iteration", 2, "metrics.best is "),
        ("few_shot", "metrics.last.test_ci95", 99.0, "no 3 episodes have an accuracy of 48.0 ± 99"),
        ("few_shot", "history", [], "timing.history_seconds is 3, but"),
        ("few_shot", "history.0.iteration", 3, "history: iteration is "),
        ("few_shot", "timing.history_seconds", [1.0], "timing.history_seconds is 1, but"),
        ("few_shot", "timing.history_seconds", [1.0, 3.0, 2.0], "timing.history_seconds is "),
        ("few_shot", "timing.train_seconds", 5.0, "timing.train_seconds is "),
        ("few_shot", "timing.history_process_seconds", [1.0], "history_process_seconds is 1, but"),
        ("few_shot", "timing.process_seconds", 5.0, "timing.process_seconds is "),
        ("few_shot", "cell.settings.iterations", 10**15, "history: entries is 3, but"),
        ("few_shot", "cell.settings", {}, "KeyError"),
        ("few_shot", "cell.when", "today", "cell.when"),
        ("few_shot", "metrics", 1, "metrics"),
        ("transfer", "metrics.best_epoch", 2, "metrics.best_epoch is 2, but its own numbers say 1"),
        ("transfer", "metrics.best_epoch", 999, "metrics.best_epoch is 999"),
        ("transfer", "history.2.lambda_mean", [1.0], "history: lambda_mean"),
        ("transfer", "history.1.lr", 0.2, "history: lr is"),
        ("transfer", "history.1.drift", [[9, 0.1, 0.1]], "history: drift of epoch 1"),
        ("few_shot times", "unit.time", "CUDA-event seconds", "unit.time"),
        ("few_shot times", "rows", [], "rows is "),
        ("transfer times", "rows.0.seconds", [1.0], "rows: seconds is"),
    ],
)
def test_a_record_that_contradicts_itself_is_named_on_write_and_on_read(
    tmp_path: Path, kind: str, path: str, value: Any, message: str
) -> None:
    where = tuple(int(key) if key.isdigit() else key for key in path.split("."))
    record, file = records.changed(VALID[kind], where, value), tmp_path / "0.json"
    frame = {k: v for k, v in record.items() if k not in ("schema", "seal", "made_from")}
    with pytest.raises(UserError, match=message):
        results.write(file, frame, record["made_from"])
    assert not file.exists()
    write_json(file, records.sealed(record))
    with pytest.raises(UserError, match=r"0\.json: not a \w+ of schema 2: .*build it again"):
        results.read(file)


@pytest.mark.fault("the result of another cell or run", "refused, with the key that differs")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": {"seed": 7}}, r"cell\.seed is 0, but the plan says 7"),
        ({"cell": {"algorithm": "first_order"}}, r"cell\.algorithm is 'multistep', but"),
        ({"cell": {"data": {"size": 84}}}, r"cell\.data\.size is 28, but the plan says 84"),
        ({"cell": {"settings": {"inner_lr": 0.1}}}, r"cell\.settings\.\w+ is "),
        ({"cell": {"new": 1}}, r"cell\.new is 'missing', but the plan says 1"),
        ({"dataset": "a" * 64}, r"made_from\.dataset is 'dddd"),
        ({"network": "a" * 64}, r"made_from\.network is None, but"),
    ],
)
def test_another_record_than_the_plan_expects_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path, record = tmp_path / "0.json", VALID["few_shot"]
    write_json(path, record)
    cell = {**record["cell"], **change.pop("cell", {})}
    with pytest.raises(UserError, match=rf"0\.json: {message}.*delete it and build it again"):
        results.read(path, results.Expected(cell, **change))


def test_a_cell_that_waited_for_a_choice_is_that_of_the_choice(tmp_path: Path) -> None:
    """Its plan lacks the setting; the choice's value and nothing else may stand there."""
    path, record = tmp_path / "0.json", VALID["chosen"]
    right = expected(record)
    write_json(path, record)
    results.read(path, dataclasses.replace(right, choice=None))
    other = dataclasses.replace(right, choice={**records.CHOICE, "value": 0.2})
    with pytest.raises(UserError, match=r"cell\.chosen\.value is 0\.1, but the plan says 0\.2"):
        results.read(path, other)
    write_json(path, records.sealed(records.changed(record, ("cell", "settings", "inner_lr"), 0.3)))
    with pytest.raises(UserError, match=r"settings\.inner_lr is 0\.3, but the plan says 0\.1"):
        results.read(path, dataclasses.replace(right, choice=None))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; build it first"):
        results.read(tmp_path / "0.json")
    for text, message in (("{", "not valid JSON"), ("[]", "no seal"), ('{"seal": 1}', "differs")):
        (tmp_path / "0.json").write_text(text)
        with pytest.raises(UserError, match=rf"0\.json: .*{message}"):
            results.read(tmp_path / "0.json")
    for schema, found in ((1, "schema: Input should be 2"), (2, "environment: Field required")):
        write_json(tmp_path / "0.json", seal.seal({"schema": schema}, records.MADE_FROM))
        with pytest.raises(UserError, match=rf"0\.json: not a result of schema 2: {found}.*again"):
            results.read(tmp_path / "0.json")


@pytest.mark.parametrize("accuracies", [[0.0, 100.0], [100.0, 100.0], [0.0, 0.0], [20.0] * 599])
def test_what_episodes_give_is_never_refused(tmp_path: Path, accuracies: list[float]) -> None:
    found = stats.over_episodes(accuracies)
    record = VALID["few_shot"]
    settings = {**record["cell"]["settings"], "test_episodes": len(accuracies)}
    own = {"test_accuracy": found.mean, "test_ci95": found.half_width}
    metrics = {**record["metrics"], **own, "test_episodes": len(accuracies), "last": own}
    metrics |= {"episode_accuracies": accuracies, "exact_adaptation": own}
    cell = {**record["cell"], "settings": settings}
    write_json(tmp_path / "0.json", records.few_shot(cell=cell, metrics=metrics))
    results.read(tmp_path / "0.json")


def test_committed_results_are_read(tmp_path: Path) -> None:
    """All that this repository has; what isn't sealed any more isn't."""
    files = [f for f in ROOT.glob("scales/*/results/**/*.json") if "choices" not in f.parts]
    assert len(files) > 100
    for file in files:
        record = results.in_place(file)
    write_json(tmp_path / "0.json", {k: v for k, v in record.items() if k != "seal"})
    with pytest.raises(UserError, match=r"0\.json: it has no seal, .*build it again"):
        results.read(tmp_path / "0.json")


def test_a_transfer_cell_s_test_is_compared_with_its_result(tmp_path: Path) -> None:
    """Within the interval of as many images: other machines round otherwise."""
    name = "5way_1shot/patterns/maml/0.json"
    kept = {"file": "0.safetensors", "digest": "e" * 64}
    for correct in (18, 28):  # of 30, where the result says 50%
        low, high = stats.wilson(correct, 30)
        row = {"mean": 100 * correct / 30, "low": low, "high": high, "images": 30}
        tested = records.transfer_evaluation() | {"rows": {"trained": {"test": row}}}
        for folder, record in (
            ("results", records.transfer() | {"parameters": kept}), ("evaluations", tested),
        ):  # fmt: skip
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, records.sealed(record))
        if correct == 18:
            results.read(path)
    with pytest.raises(UserError, match=r"93\.33% on the images that gave 50\.00% in"):
        results.read(path)


@pytest.mark.parametrize("change", [{"steps": 2}, {"episodes": 2}, {"rate": 0.1}, {"window": 1}])
def test_in_the_plan_s_folder_an_evaluation_has_the_cell_s_settings(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """The frame would take another for the cell's own."""
    made = records.evaluation()
    row = {"mean": 50.0, "ci95": stats.over_episodes([40.0, 60.0]).half_width}
    row |= {"episodes": [40.0, 60.0], "non_finite_episodes": 0}
    if "episodes" in change:
        made["rows"] = {"trained": {"together": row}}
    made["settings"] |= change
    for folder in ("again", "evaluations"):
        path = tmp_path / folder / "5way_1shot/patterns/maml/0.json"
        path.parent.mkdir(parents=True)
        write_json(path, records.sealed(made))
        if folder == "again":
            results.read(path)
    (key, value), *_ = change.items()
    with pytest.raises(UserError, match=rf"other settings than the cell's \({key} {value}, not "):
        results.read(path)


@pytest.mark.fault("a record beside one of another run", "refused, with the file that differs")
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("evaluation", {"parameters": "f" * 64}, "of other parameters than those of"),
        ("evaluation", {"rows": "other"}, r"60\.00% on the episodes that gave 46\.67% in"),
        ("result", {"parameters": {"file": "0.safetensors", "digest": "f" * 64}}, "is of other"),
        ("result", {"cell": {"seed": 1}}, "is of other parameters"),
    ],
)
def test_what_lies_beside_a_record_has_to_be_of_its_run(
    tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    """Each is whole, and sealed as the program seals it."""
    place = tmp_path / "results/5way_1shot/patterns/maml/0.json"
    own = {"test_steps": 4, "inner_lr": 0.4}
    record = records.few_shot()
    record["cell"]["settings"] |= own
    kept = parameters.write(
        parameters.beside(place), {"head": np.ones(2)}, record["cell"], {"size": 28, "channels": 1},
        record["made_from"],
    )  # fmt: skip
    episodes = [40.0, 60.0, 40.0]
    mean = stats.over_episodes(episodes)
    metrics = {"test_accuracy": mean.mean, "test_ci95": mean.half_width}
    record["metrics"] |= metrics | {"episode_accuracies": episodes}
    record = records.sealed(record | {"parameters": kept})
    other = Path(str(place).replace("/results/", "/evaluations/"))
    tested = records.evaluation(record, 40.0) | {"parameters": kept["digest"]}

    def trained(*episodes: float) -> dict[str, Any]:
        mean = stats.over_episodes(episodes)
        row = {"mean": mean.mean, "ci95": mean.half_width, "episodes": list(episodes)}
        return {"rows": {"trained": {"together": row | {"non_finite_episodes": 0}}}}

    tested |= trained(*episodes)
    for path, content in ((place, record), (other, records.sealed(tested))):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
        assert results.read(path) == content
    path, content = (place, record) if name == "result" else (other, tested)
    for key, value in change.items():
        of = trained(60.0, 60.0, 60.0)["rows"] if value == "other" else value
        content = content | {key: content[key] | of if isinstance(of, dict) else of}
    write_json(path, records.sealed(content))
    with pytest.raises(UserError, match=message):
        results.read(path)
