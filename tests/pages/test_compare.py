"""`multistep compare`: what differs between two folders or commits, and beyond noise or not."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import scipy.stats
from helpers import PARAMS, ROOT
from page_records import few_shot, few_shot_times, put, transfer

import multistep
from multistep import cli
from multistep.files import UserError, read_json
from multistep.job import results
from multistep.pages import compare

EPISODES = [[30.0, 40.0, 50.0, 60.0], [20.0, 30.0, 50.0, 50.0], [10.0, 40.0, 40.0, 50.0]]
MORE = [[20.0, 20.0, 20.0, 19.0], [20.0, 20.0, 19.0, 19.0], [20.0, 19.0, 20.0, 20.0]]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A scale, and another that is 20 points better, half as fast and otherwise equal."""
    better = np.add(EPISODES, MORE).tolist()
    a = [few_shot(seed=s, episodes=row, scale="one") for s, row in enumerate(EPISODES)]
    b = [few_shot(seed=s, episodes=r, scale="two", inner_lr=0.1) for s, r in enumerate(better)]
    a += [transfer(seed=s, test=50.0 + s, scale="one") for s in range(3)]
    b += [transfer(seed=s, test=50.0 + s, scale="two") for s in range(3)]
    rows = [("maml", 8, [1.0, 1.1, 1.2], 100), ("fomaml", 8, [0.5, 0.5, 0.5], 50)]
    slower = [("maml", 8, [2.0, 2.2, 2.4], 100), ("fomaml", 8, [0.5, 0.5, 0.5], 40)]
    alone = few_shot(method="multistep8", scale="two")
    return (
        put(tmp_path / "a", *a, few_shot_times(rows=rows, scale="one")),
        put(tmp_path / "b", *b, few_shot_times(rows=slower, scale="two"), alone),
    )


def test_cells_are_compared_over_the_episodes_that_they_share(places: tuple[Path, Path]) -> None:
    found = compare.compare(*(compare.read(str(place)) for place in places))
    rows = {(row["cell"], row["of"]): row for row in found["rows"]}
    row = rows["5way_1shot/omniglot/maml", "accuracy"]
    pairs = np.array(MORE)
    half = np.hypot(
        pairs.mean(0).std() / 2 * scipy.stats.norm.ppf(0.975),
        pairs.mean(1).std(ddof=1) / 3**0.5 * scipy.stats.t.ppf(0.975, 2),
    )
    assert row["interval"] == pytest.approx([pairs.mean() - half, pairs.mean() + half], abs=1e-4)
    assert (row["beyond_noise"], row["n"]) == (True, {"seeds": 3, "episodes": 4})
    assert row["settings"] == {"inner_lr": [0.4, 0.1]}
    equal = rows["sgd/bird/l2t", "accuracy"]
    assert (equal["difference"], equal["beyond_noise"], equal["settings"]) == (0.0, False, {})
    at = "measure/5way_1shot/omniglot: {}, 8 steps"
    time = rows[at.format("maml"), "seconds"]
    assert time["difference"] == pytest.approx(2.0)
    assert time["alone"]
    assert rows[at.format("fomaml"), "bytes"]["difference"] == 0.8
    assert not rows[at.format("maml"), "bytes"]["beyond_noise"]
    assert found["only_b"] == ["5way_1shot/omniglot/multistep8"]
    assert found["only_a"] == []


def test_equal_differences_are_beyond_no_noise(places: tuple[Path, Path]) -> None:
    """Three seeds that are 10 points better say nothing of the fourth; equal ones don't differ."""
    runs = [transfer(seed=s, test=50.0 + s) for s in range(3)]
    better = [transfer(seed=s, test=60.0 + s) for s in range(3)]
    key = ("paper", "sgd", "bird", "l2t")
    for other, right in ((better, None), (runs, False)):
        (row,) = compare.compare({key: runs}, {key: other})["rows"]
        assert (row["interval"], row["beyond_noise"]) == (None, right)


def test_other_seeds_are_no_pairs(places: tuple[Path, Path]) -> None:
    a = compare.read(str(places[0]))
    (key,) = (key for key in a if key[-1] == "maml")
    moved = [{**run, "cell": {**run["cell"], "seed": run["cell"]["seed"] + 3}} for run in a[key]]
    (row,) = compare.compare({key: a[key]}, {key: moved})["rows"]
    assert row["difference"] == 0
    assert row["interval"][1] > 10  # the difficulty of the episodes doesn't drop out


def test_a_commit_is_compared_with_what_came_after_it(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = places
    git = ["git", "-C", str(place), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"]):
        subprocess.run([*git, *command], check=True)
    for seed, row in enumerate(np.subtract(EPISODES, np.divide(MORE, 2)).tolist()):
        put(place, few_shot(seed=seed, episodes=row, scale="one"))
    monkeypatch.chdir(place)
    assert cli.main(["compare", "HEAD", ".", "--json", str(other / "c.json")]) == 0
    text = capsys.readouterr().out
    assert "| 5way_1shot/omniglot/maml | accuracy | 39.167 | 29.333 | -9.8333 | -" in text
    assert json.loads((other / "c.json").read_text())["rows"][0]["difference"] == pytest.approx(
        -59 / 6
    )
    assert "6 comparisons: 1 beyond noise" in text


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", r"neither a folder nor a commit \(.*not a git repository.*\); name"),
        (".", "no results in it"),
    ],
)
def test_nothing_to_compare_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        compare.read(place)


def test_a_commit_without_git_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"HEAD~1: .* nor a commit \(git: No such file"):
        compare.read("HEAD~1")


@pytest.mark.parametrize("read", [compare.read, multistep.frame])
def test_a_copy_in_another_cells_place_is_no_second_run(tmp_path: Path, read: Any) -> None:
    """It would count as one more seed."""
    shutil.copytree(ROOT / "workflow" / "report", tmp_path / "workflow" / "report")
    shutil.copy2(PARAMS, tmp_path)
    put(tmp_path, few_shot())
    assert len(read(str(tmp_path)))
    (file,) = tmp_path.glob("results/*/*/*/0.json")
    shutil.copy2(file, file.with_name("1.json"))
    with pytest.raises(UserError, match=r"1\.json: it is of the cell 5way_1shot/omniglot/maml/0"):
        read(str(tmp_path))
    record = records.few_shot()  # with parameters, and so of now
    copy = records.sealed(record | {"cell": record["cell"] | {"seed": 1}})
    shutil.rmtree(tmp_path / "results")
    put(tmp_path, record, copy)
    with pytest.raises(UserError, match="the same trained parameters; one of them is a copy"):
        read(str(tmp_path))
    shutil.rmtree(tmp_path / "results")
    for home in (tmp_path, tmp_path / "scales/kept"):  # a folder that was copied with its results
        put(home, record)
    with pytest.raises(UserError, match=r"are of one cell, 5way_1shot/.*/0; leave one of them"):
        read(str(tmp_path))


@pytest.mark.parametrize("read", [compare.read, multistep.frame])
def test_a_record_of_another_scale_is_told(tmp_path: Path, read: Any) -> None:
    """Its cells would stand for that scale's, or be left out of what is compared."""
    shutil.copytree(ROOT / "workflow" / "report", tmp_path / "workflow" / "report")
    shutil.copy2(PARAMS, tmp_path)
    put(tmp_path / "scales/here", few_shot(scale="here"), few_shot(seed=1, scale="other"))
    with pytest.raises(UserError, match=r"0\.json is of the scale here, .*1\.json of other; "):
        read(str(tmp_path))


def test_each_file_is_read_once(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    for module in (compare, results):
        monkeypatch.setattr(
            module, "read_json", lambda path: (read.append(path), read_json(path))[1]
        )
    compare.read(str(places[0]))
    assert len(read) == len({*read}) > 0


def test_one_seed_says_so(places: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = (compare.read(str(place)) for place in places)
    told = compare.markdown(compare.compare(one, other), "a", "b")
    assert "3 seeds" in told
    assert "another training" not in told
    for of in (one, other):
        of.update({key: runs[:1] for key, runs in of.items()})
    told = compare.markdown(compare.compare(one, other), "a", "b")
    assert "| 1 seed, 4 episodes |" in told
    assert "another training" in told
