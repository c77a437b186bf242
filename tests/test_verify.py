"""`multistep verify`: one of each kind of artefact as it was written, then damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import page_reading
import pytest
import records
import torch
from transfer_data import prepared_images, source_folder

from multistep import cli, seal, verify
from multistep.data.identity import write_record
from multistep.data.settings import Archive
from multistep.files import write_json, write_text
from multistep.job import checkpoint, parameters
from multistep.pages import record
from multistep.pages.context import Context


def built(home: Path) -> dict[str, Path]:
    """An artefact of each kind; of each the file that is to be damaged."""
    cell = "5way_1shot/patterns/maml"
    result = home / f"results/{cell}/0.json"
    choice = home / f"results/choices/{cell}.json"
    archive = home / "data/raw/pets/pets.zip"
    state = home / f"scratch/results/{cell}/0.pt"
    page = home / "reports/figures/figure1"
    made, seals = records.few_shot(), {"candidates": ["1" * 64]}
    result.parent.mkdir(parents=True)
    kept = parameters.write(
        parameters.beside(result), {"head": np.ones(4)}, made["cell"], {"size": 28, "channels": 1},
        made["made_from"],
    )  # fmt: skip
    write_json(result, records.sealed(made | {"parameters": kept}))
    shutil.copy(parameters.beside(result), home / "best.safetensors")
    write_json(home / "results/measure/5way_1shot/patterns.json", records.measurement())
    about = {"schema": 2, "cell": made["cell"], "seeds": [0], **records.CHOICE}
    about["cell"] = {key: value for key, value in made["cell"].items() if key != "seed"}
    write_json(choice, seal.seal(about, seals))
    write_json(home / "bench/results/cpu.json", {"of": "a benchmark, which is no artefact"})
    write_json(home / "reports/claims.json", [seal.seal({"id": "one"}, None)])
    evaluation = records.sealed(records.evaluation() | {"parameters": kept["digest"]})
    write_json(home / f"evaluations/{cell}/0.json", evaluation)
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"an archive")
    write_record(Archive(unverified=True), archive)
    checkpoint.save(state, "key", {"iteration": torch.ones(1)})
    files = [page.with_suffix(f".{suffix}") for suffix in record.SUFFIXES["figures"]]
    page.parent.mkdir(parents=True)
    for file in files:
        file.write_text(file.suffix)
    spec = {"kind": "curves", "title": "Curves", "caption": "", "panels": {"a": ""}}
    spec |= {"dataset": "patterns", "methods": ["maml"]}
    names = Context(scale="tiny", datasets={}, methods={})
    record.write(page, "figures", page_reading.figure_spec(spec), names, [made], files, {})
    index = home / "reports/site/index.html"
    write_text(index, "<title>Report</title>")
    record.write_report(home / "reports", ["tiny"])
    return {
        "archives": archive,
        "checkpoints": state,
        "choices": choice,
        "evaluations": home / f"evaluations/{cell}/0.json",
        "other reports": home / "reports/claims.json",
        "pages": files[0],
        "parameters": parameters.beside(result),
        "parameters elsewhere": home / "best.safetensors",
        "prepared datasets": prepared_images(home / "data/processed/patterns") / "images.npy",
        "reports": index,
        "results and measurements": home / "results/measure/5way_1shot/patterns.json",
        "source networks": source_folder(home / "data/networks/random") / "weights.pt",
    }


@pytest.mark.fault("a byte of any artefact changed", "named by `multistep verify`")
def test_what_differs_is_named_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    files = built(tmp_path)
    assert set(files) == set(verify.CHECKS)
    (tmp_path / "data").rename(tmp_path / ".disk")  # data on another disk, and a link in a circle
    (tmp_path / "data").symlink_to(tmp_path / ".disk")
    (tmp_path / "data" / "round").symlink_to(tmp_path)
    assert cli.main(["verify", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "all are as they were written" in told.out
    assert all(f" {kind}\n" in told.out for kind in files)
    assert "13 of 13 artefacts" in told.err
    weights = files["source networks"].rename(tmp_path / "elsewhere")  # not pulled
    assert cli.main(["verify", str(tmp_path)]) == 0
    weights.rename(files["source networks"])
    capsys.readouterr()
    for file in files.values():
        content = bytearray(file.read_bytes())
        content[-4] ^= 1
        file.write_bytes(content)
    assert cli.main(["verify", "--jobs", "2", str(tmp_path)]) == 2
    first, *lines = capsys.readouterr().err.partition("error: ")[2].splitlines()
    assert first == f"{len(files)} of 13 differ:"
    for file in files.values():
        assert [line for line in lines if line.startswith(f"  {file}")], file
    record_property("injected", len(files))


def test_a_record_is_verified_wherever_it_lies_if_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, plain = tmp_path / "mine/one.json", tmp_path / "mine/plain.json"
    write_json(kept, records.sealed(records.evaluation()))
    write_json(plain, {"of": "something else"})
    assert cli.main(["verify", str(kept)]) == 0
    assert "all are as they were written" in capsys.readouterr().out
    assert cli.main(["verify", str(kept), str(plain)]) == 0
    assert "1 of them have no seal" in capsys.readouterr().out
    kept.write_text(kept.read_text().replace("evaluation", "evaluatiom", 1))
    assert cli.main(["verify", str(kept)]) == 2
    assert f"{kept}: its content differs from its seal" in capsys.readouterr().err


def test_parameters_of_another_cell_are_told_without_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = built(tmp_path)["parameters"]
    for name in ("1", "best"):
        shutil.copy(own, own.with_stem(name))
    assert cli.main(["verify", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    for name in ("1", "best"):
        assert f"{own.with_stem(name)}: it is of the cell 5way_1shot/patterns/maml/0; del" in told


def test_a_whole_record_in_anothers_place_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a copy leaves it: of another method, page, network, or of another scale."""
    files = built(tmp_path)
    choice, network, page = files["choices"], files["source networks"].parent, tmp_path / "reports"
    shutil.copy(choice, choice.with_stem("anil"))
    shutil.copytree(network, network.with_name("other"))
    for suffix in ("json", *record.SUFFIXES["figures"]):
        shutil.copy(page / f"figures/figure1.{suffix}", page / f"figures/figure2.{suffix}")
    assert cli.main(["verify", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "3 of 16 differ" in told
    for file, what in (
        (choice.with_stem("anil"), "it is of the cell 5way_1shot/patterns/maml; delete it"),
        (network.with_name("other") / "network.json", "of the source network random; delete"),
        (page / "figures/figure2.json", "it is figures/figure1; delete this file, and"),
    ):
        assert f"\n  {file}: {what}" in told


def test_what_is_of_another_scale_than_its_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = built(tmp_path / "scales/tiny")
    assert cli.main(["verify", str(tmp_path)]) == 0
    shutil.copytree(tmp_path / "scales/tiny", tmp_path / "scales/kept")  # a copy of all is sound
    assert cli.main(["verify", str(tmp_path)]) == 0
    own = files["results and measurements"]
    for name in ("other", "another"):  # fewer than there are of its own, or more
        made = records.measurement()
        made["cell"] = made["cell"] | {"scale": name, "experiment": name}
        stray = own.parents[1] / name / own.name
        write_json(stray, records.sealed(made))
        capsys.readouterr()
        assert cli.main(["verify", str(tmp_path / "scales/tiny")]) == 2
        told = capsys.readouterr().err
        assert f"{stray}: of the scale {name}, among what is of tiny; delete it, or move it" in told
        assert f"{own}: " not in told


def test_a_folder_in_the_place_of_an_artefact_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = built(tmp_path)
    kinds = ("choices", "checkpoints", "parameters", "results and measurements", "evaluations")
    for kind in kinds:
        files[kind].unlink()
        files[kind].mkdir()
    assert cli.main(["verify", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    for kind in kinds:
        assert f"\n  {files[kind]}: " in told


def test_folders_above_a_project_may_be_called_as_those_in_it(tmp_path: Path) -> None:
    project = tmp_path / "scratch/reports/results/evaluations/project"
    files = built(project)
    for name in ("params.yaml", "src/splits.json", "src/weights.pt"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("{}")
    found = list(verify.artefacts(project))
    assert {kind for kind, _ in found} == set(files)
    assert len(found) == 13


def test_one_file_one_without_a_seal_and_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records.few_shot()
    own = [str(record["cell"][key]) for key in ("experiment", "dataset", "method", "seed")]
    path = tmp_path / "results" / "/".join(own)
    write_json(path.with_suffix(".json"), record)
    assert cli.main(["verify", f"{path}.json"]) == 0
    assert "all are as they were written" in capsys.readouterr().out
    metrics = tmp_path / "reports" / "metrics.json"  # sealed by a report's record, if it has one
    write_json(metrics, {"maml": 50.0})
    assert cli.main(["verify", str(metrics)]) == 0
    told = capsys.readouterr().out
    assert "1 of them have no seal" in told
    assert "as they were written" not in told
    metrics.unlink()
    other = path.parents[1] / "another" / f"{own[-1]}.json"  # whole, and of another cell
    write_json(other, record)
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert f"{other}: it is of the cell {'/'.join(own)}" in capsys.readouterr().err
    other.unlink()
    claims = [seal.seal({"id": name}, None) for name in "ab"]
    del claims[1]["seal"]
    for name, content in (("claims.json", claims), ("network.json", 5)):
        write_json(tmp_path / "reports" / name, content)
        assert cli.main(["verify", str(tmp_path)]) == 2
        assert f"{name}: it has no seal" in capsys.readouterr().err
        (tmp_path / "reports" / name).unlink()
    for path in ("nowhere", "."):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert cli.main(["verify", str(tmp_path / "empty" / path)]) == 2
