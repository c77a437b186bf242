"""Files that Snakemake has no record of: those of the plan count, others are told."""

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import records
from helpers import PARAMS, ROOT

from multistep import seal
from multistep.files import read_json, write_json
from multistep.plan import cells, params, unrecorded

BUILT = sorted(p.parent.name for p in (ROOT / "scales").glob("*/results"))


def mistakes(home: Path, scale: str, **changes: Any) -> list[str]:
    overlay = params.read(ROOT / "workflow" / "scales" / f"{scale}.yaml")
    plan = params.validate(params.merge(params.merge(params.read(PARAMS), overlay), changes))
    planned = {cell.path: cell for cell in cells.plan(plan)}
    parts = (planned, cells.choices(plan), cells.measurements(plan))
    return unrecorded.mistakes(home, unrecorded.checks(home, plan, *parts))


@pytest.mark.parametrize("scale", BUILT)
def test_what_this_repository_has_is_what_its_plans_say(scale: str) -> None:
    assert mistakes(ROOT / "scales" / scale, scale) == []


FIRST = "results/5way_1shot/omniglot/maml/0.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with two results that were copied there."""
    for seed in (0, 1):
        name = FIRST.replace("0.json", f"{seed}.json")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "scales/omniglot-cpu" / name, tmp_path / name)
    return tmp_path


def test_other_settings_and_another_cell_s_file_are_told(home: Path) -> None:
    scale = "omniglot-cpu"
    assert mistakes(home, scale) == []
    found = mistakes(home, scale, methods={"maml": {"settings": {"inner_lr": 0.123}}})
    assert len(found) == 2
    assert found[0].startswith(
        f"{FIRST}: cell.settings.inner_lr is 0.4, but the plan says 0.123; delete it and build it"
    )
    shutil.copy(home / FIRST.replace("0.json", "1.json"), home / FIRST)
    assert [line.partition(";")[0] for line in mistakes(home, scale)] == [
        f"{FIRST}: cell.seed is 1, but the plan says 0"
    ]
    (home / FIRST).write_text("{")
    assert f"{FIRST}: not valid JSON" in mistakes(home, scale)[0]
    other = FIRST.replace("0.json", "1.json")
    (home / other).with_suffix(".safetensors").mkdir()
    assert ".safetensors: a folder, no file of parameters" in mistakes(home, scale)[1]
    (home / FIRST).unlink()
    (home / FIRST).mkdir()
    assert f"{FIRST}: a folder; name a file" in mistakes(home, scale)


def test_a_choice_is_that_of_the_candidates_beside_it(tmp_path: Path) -> None:
    scale = "miniimagenet-cpu"
    shutil.copytree(ROOT / "scales" / scale / "results", tmp_path / "results")
    (path,) = tmp_path.glob("results/choices/mini_5way_1shot/*/maml.json")
    choice = read_json(path)
    for entry in choice["candidates"]:
        entry["validation_accuracy"] += 1.0
    write_json(path, seal.seal(choice, choice["made_from"]))
    *waiting, found = mistakes(tmp_path, scale)
    assert found.startswith(f"{path.relative_to(tmp_path)}: its candidates have [29.15")
    assert len(waiting) == 3
    assert all("/maml/" in line and ": cell.chosen.candidates is " in line for line in waiting)


@pytest.mark.parametrize("kind", ["metadata", "incomplete"])
@pytest.mark.parametrize("length", [8, 300], ids=["short", "long"])
def test_what_snakemake_knows_is_its_own_matter(home: Path, kind: str, length: int) -> None:
    """Long names are cut into folders, as `snakemake.persistence.file` does."""
    name = f"results/{'name/' * (length // 5)}0.json"
    cut = base64.urlsafe_b64encode(name.encode()).decode()
    parts = [cut[i : i + 254] for i in range(0, len(cut), 254)]
    entry = home.joinpath(".snakemake", kind, *(f"@{part}" for part in parts[:-1]), parts[-1])
    entry.parent.mkdir(parents=True)
    entry.write_text("{}")
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("anything")

    def refuse() -> None:
        raise AssertionError("it has a record")

    assert unrecorded.mistakes(home, [(name, refuse)]) == []


def test_a_source_network_is_its_settings_and_its_archive(tmp_path: Path) -> None:
    name = "tinyimagenet_resnet32"
    spec = params.load(PARAMS).source_networks[name]
    (archive,) = spec.archives
    folder = tmp_path / "data" / "networks" / name
    settings = spec.on("tinyimagenet_x50").model_dump()  # which this scale has in its place
    record = {"name": name, "digest": "d" * 64, "settings": settings | {"title": "Before"}}
    record |= {"metrics": {"published": {}}, "history": []}
    made_from = {"network": spec.archives[archive].sha256, "dataset": None}
    write_json(folder / "network.json", records.sealed(record, **made_from))
    (folder / "weights.pt").write_bytes(b"")
    scale = "dogs32-cpu"
    assert mistakes(tmp_path, scale) == []
    found = mistakes(tmp_path, scale, source_networks={name: {"architecture": {"width": 8}}})
    assert (
        found[0]
        .partition(";")[0]
        .endswith("settings.architecture.width is 16, but the plan says 8")
    )
    changed = {"archives": {archive: {"sha256": "0" * 64}}}
    found = mistakes(tmp_path, scale, source_networks={name: changed})
    assert f"network.json: made from another {archive}" in found[0]


@pytest.mark.parametrize(
    ("plugin", "cancel", "how"),
    [
        ("htcondor", None, "Cancel the old ones: condor_rm 7 9"),
        ("cluster-generic", "scancel", "Cancel the old ones: scancel 7 9"),
        ("flux", None, "Cancel the old ones, with your system's command"),
    ],
)
def test_jobs_that_a_killed_run_left_are_told_with_what_ends_them(
    tmp_path: Path, plugin: str, cancel: str | None, how: str
) -> None:
    assert unrecorded.left_in_queue(tmp_path, plugin, cancel) is None
    marks = tmp_path / ".snakemake/incomplete"
    marks.mkdir(parents=True)
    for name, content in (("YQ==", "9"), ("Yg==", "7"), ("Yw==", "null"), ("ZA==", "")):
        (marks / name).write_text(content and f'{{"external_jobid": {content}}}')
    told = unrecorded.left_in_queue(tmp_path, plugin, cancel)
    assert told is not None
    assert "left jobs in the cluster's queue: 7, 9." in told
    assert told.endswith(how)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_records_that_are_links_become_files_of_their_own(tmp_path: Path, link: str) -> None:
    cached = tmp_path / "cache" / "object"
    path = tmp_path / ".snakemake/metadata/@part/rest"
    for file in (cached, path):
        file.parent.mkdir(parents=True)
    cached.write_text("made from")
    cached.chmod(0o444)
    getattr(path, link)(cached)
    unrecorded.unlink(tmp_path)
    assert path.read_text() == "made from"
    assert os.access(path, os.W_OK)
    assert not path.samefile(cached)
    assert list(path.parent.iterdir()) == [path]
    path.write_text("later")  # as Snakemake does
    assert cached.read_text() == "made from"
    unrecorded.unlink(tmp_path / "nothing was run here")
