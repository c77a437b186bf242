"""Measurements: which points exist, units, memory that follows the windows, and the GPU slots."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import prepared_dataset, small_params

from multistep import cli
from multistep.files import UserError
from multistep.job import device, results
from multistep.job.record import Environment
from multistep.plan import cells


@pytest.fixture(scope="module")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("measure")
    prepared_dataset(folder / "data")
    definition = cells.measurements(small_params())["results/measure/5way_1shot/omniglot.json"]
    definition["measure"] = {
        "steps": [1, 2, 4],
        "rounds": 2,
        "tasks": 2,
        "batches": 1,
        "alone": True,
    }
    line = ["measure", "--definition", json.dumps(definition), "--data", str(folder / "data")]
    out = folder / "measure.json"
    assert cli.main([*line, "--out", str(out), "--device", "cpu"]) == 0
    return results.read(out)


def test_methods_are_measured_where_their_windows_fit(measurement: dict[str, object]) -> None:
    rows = measurement["rows"]
    assert isinstance(rows, list)
    points = {(r["method"], r["steps"]) for r in rows}
    assert points == {
        *(("maml", t) for t in (1, 2, 4)),
        *(("fomaml", t) for t in (1, 2, 4)),
        *(("multistep8", t) for t in (1, 2, 4)),  # window 1 in the small plan
        ("multistep2", 2),
        ("multistep2", 4),
        ("multistep4", 4),
        # and with its own number of steps, each in one of the measured ones or beside them
        *(("maml_replay", t) for t in (1, 2, 4)),
        *(("anil", t) for t in (1, 2, 4)),
        *(("anil_uncached", t) for t in (1, 2, 4)),
        *(("reptile", t) for t in (1, 2, 4, 5)),
        *(("imaml", t) for t in (1, 2, 4, 16)),
        *(("memory_reduced", t) for t in (1, 2, 4, 20)),
    }
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in rows)
    assert measurement["unit"] == {
        "time": "process seconds",
        "memory": "bytes saved for backward per task",
    }


def test_memory_counts_windows_not_steps(measurement: dict[str, object]) -> None:
    rows = measurement["rows"]
    assert isinstance(rows, list)
    nbytes = {(r["method"], r["steps"]): r["bytes"] for r in rows}
    assert nbytes["maml", 2] == nbytes["multistep2", 4]  # two gradients kept
    assert nbytes["maml", 1] == nbytes["multistep2", 2] == nbytes["multistep4", 4]  # one
    step = nbytes["maml", 2] - nbytes["maml", 1]
    assert nbytes["maml", 4] - nbytes["maml", 2] == 2 * step
    assert nbytes["fomaml", 1] == nbytes["fomaml", 4] < nbytes["maml", 1]
    # Without the inner loop's activations: one φ per step, or nothing at all.
    replayed = nbytes["maml_replay", 4] - nbytes["maml_replay", 2]
    assert 0 < replayed < step
    assert (
        nbytes["anil", 4] - nbytes["anil", 2]
        < nbytes["anil_uncached", 4] - nbytes["anil_uncached", 2]
    )
    for method, most in {"reptile": 5, "imaml": 16, "memory_reduced": 20}.items():
        assert nbytes[method, 1] == nbytes[method, most]


def test_every_job_claims_a_slot_of_its_own(tmp_path: Path) -> None:
    """Slots are locks: two live processes never share one, and a dead one's is free again."""
    program = (
        "import sys; from pathlib import Path; from multistep.job.device import claim_slot; "
        f"print(claim_slot(Path({str(tmp_path)!r}), ['0', '1']), flush=True); sys.stdin.read()"
    )

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True)

    def slot(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    jobs = [start(), start(), start()]
    claimed = {slot(job): job for job in jobs}
    assert sorted(claimed) == ["0", "1", "None"]
    claimed["0"].kill()
    claimed["0"].wait()
    jobs.append(start())
    assert slot(jobs[-1]) == "0"
    for job in jobs:
        job.kill()
        job.communicate()


def test_prepare_refuses_what_is_no_device() -> None:
    with pytest.raises(UserError, match="device must be cuda or cpu, got 'tpu'"):
        device.prepare("tpu", 1)


def test_environment_names_versions_and_machine() -> None:
    import torch

    record = device.environment(device.prepare("cpu", 1), 1)
    assert record["torch"] == torch.__version__
    assert record["device"] == "cpu"
    assert record["cuda"] is None
    assert record["tf32"] is False
    assert Environment.model_validate(record)
