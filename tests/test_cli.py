"""The public face: names of the package, and commands that never end in a traceback."""

from __future__ import annotations

import argparse
import errno
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PARAMS

import multistep
from multistep import Adam, cli, unroll
from multistep.files import UserError
from multistep.plan import cells, params
from multistep.plan import cli as plan_cli


def test_public_names_have_the_signatures_that_others_rely_on() -> None:
    known = {
        multistep.SGD: "(lr, momentum=0.0, weight_decay=0.0)",
        Adam: "(lr, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
        unroll: "(loss, params, dynamics, *, steps, window=1, state=None, first_order=False)",
    }
    for name, right in known.items():
        signature = inspect.signature(name)
        empty = inspect.Parameter.empty
        bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
        found = signature.replace(parameters=bare, return_annotation=empty)
        assert str(found).startswith(right[:-1])  # more may follow
    assert {"unroll", "SGD", "Adam"} <= set(dir(multistep))
    with pytest.raises(AttributeError, match="no attribute 'unrol'"):
        _ = multistep.unrol


def test_the_package_and_the_plan_cost_no_torch_and_no_pandas() -> None:
    code = (
        "import sys, multistep\nfrom multistep import cli\n"
        "assert cli.main(['plan', sys.argv[1], '--json']) == 0\n"
        "assert not {'torch', 'pandas', 'seaborn'} & sys.modules.keys()"
    )
    run = [sys.executable, "-c", code, str(PARAMS)]
    found = subprocess.run(run, capture_output=True, text=True, check=True)
    everything = cells.plan(params.load(PARAMS))
    assert list(json.loads(found.stdout)["cells"]) == [cell.path for cell in everything]


def test_in_another_clone_whose_code_runs_is_said(tmp_path: Path) -> None:
    own = Path(cli.__file__).parent
    other = tmp_path / "src" / "multistep" / "cli.py"
    other.parent.mkdir(parents=True)
    (tmp_path / "scales").mkdir()

    def told(folder: Path) -> str:
        run = [sys.executable, "-m", "multistep.cli", "--version"]
        return subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stderr

    assert told(tmp_path / "scales") == told(own) == ""
    other.touch()
    note = f"note: this runs the code in {own}, not that of this clone; PYTHONPATH={tmp_path}/src "
    assert told(tmp_path / "scales").startswith(note)


def test_help_and_a_wrong_command_line_cost_no_torch() -> None:
    code = (
        "import sys\nfrom multistep import cli\n"
        "for line in sys.argv[1].splitlines():\n"
        "    try: cli.main(line.split())\n    except SystemExit: pass\n"
        "    assert 'torch' not in sys.modules, line"
    )
    wrong = ["--help", *(f"{command} --help" for command in cli.SUBCOMMANDS), "nonsense"]
    wrong += ["train --cell {", "measure --definition {", "pretrain --name n --spec {"]
    subprocess.run([sys.executable, "-c", code, "\n".join(wrong)], capture_output=True, check=True)


def test_a_reader_who_has_enough_is_no_mistake() -> None:
    command = f"{sys.executable} -m multistep.cli params {PARAMS} | head -1"
    command += "; echo ${PIPESTATUS[0]}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0"
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("rest", "status", "out", "err"),
    [
        (f"plan {PARAMS} >&-", "0", "", ""),
        (f"params {PARAMS} 2>&- | grep -v results/", "0 1", "", ""),
        ("plan absent.yaml 2>&- <&-", "2", "", ""),
        (f"plan {PARAMS} > /dev/full", "2", "", "error: No space left on device; mend it or make"),
        (f"plan {PARAMS} <(echo 'only: [sgd_32]') | tail -1", "0 0", "18 cells; 0 candidates", ""),
    ],
)
def test_streams_may_be_closed_full_or_read_once(
    rest: str, status: str, out: str, err: str
) -> None:
    command = f"{sys.executable} -m multistep.cli {rest}; echo ${{PIPESTATUS[@]}}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    *said, last = found.stdout.splitlines()
    assert (last, "".join(said)[: len(out) or None]) == (status, out)
    assert found.stderr.startswith(err)
    assert bool(found.stderr) == bool(err)


def test_a_terminal_that_lacks_a_character_ends_no_command() -> None:
    command = [sys.executable, "-m", "multistep.cli", "plan", str(PARAMS), "--method", "maml"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert r"maml \xd7 3" in found.stdout


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/0.json")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (no_space(), "error: results/0.json: No space left on device; mend it or make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "error: a: Permission denied"),
        (OSError("no such host"), "error: no such host"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "is not UTF-8"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "fewer --cores"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "more (fewer"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            "error: CUDA out of memory; set sche",
        ),
        (torch.AcceleratorError("CUDA error: launch failure\nx"), "fails (CUDA error: launch fail"),
        (UserError("a.yaml: no such file"), "error: a.yaml: no such file"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_people_and_machines_do_wrong_is_one_line(
    error: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(plan: Any, wanted: Any) -> str:
        raise error

    monkeypatch.setattr(plan_cli, "summary", fail)
    assert cli.main(["plan", str(PARAMS)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


CANDIDATE = (
    "scales/miniimagenet-cpu/results/mini_5way_1shot-inner_lr-0.01/miniimagenet_x100/maml/0.json"
)
RESULT = "scales/omniglot-cpu/results/5way_1shot/omniglot/maml/0.json"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train --cell {", "--cell"),
        ("train --cell 5", "--cell"),
        ('train --cell {"seed":1,"seed":2}', "--cell: not valid JSON ('seed' stands there more"),
        ('train --cell {"scale":1}', "family: Field required"),
        ("measure --definition []", "--definition: "),
        ('measure --definition {"family":"few_shot"}', "--definition: scale: Field required"),
        ("pretrain --name n --spec {", "--spec: not valid JSON"),
        ("data prepare --dataset d --spec {}", "--spec: loader: Field required"),
        ("data download --dataset d --archive a --spec 7", "--spec: "),
        ("choose --setting lr --out o.json --choice-of {} a", "--choice-of: "),
        ("choose --setting lr --out o.json absent.json", "absent.json: no such file"),
        ("report table --name t --spec {} --context [ --out o", "--con"),
        ("train /results/a/b/c/0.json", "/params.yaml: no such file"),
        (
            "data prepare --dataset omniglot --params workflow/scales/demo.yaml",
            "demo.yaml: lacks ch",
        ),
        (
            'report table --name t --spec {} --context {"scale":"x","datasets":{},"methods":{}} '
            '--out o --plan {"cells":5}',
            "--plan: cells: Input should be a valid dict",
        ),
        ("evaluate src", "src: a folder; name a result (.json) or its parameters"),
        ("evaluate README.md", "README.md: neither; name a result (.json) or its parameters"),
        (
            "evaluate absent.json",
            "absent.json: no such file; build it first (snakemake absent.json)",
        ),
        (
            "evaluate scales/omniglot-long/results/a.json",
            "(snakemake --configfile workflow/scales/omniglot-long.yaml -- results/a.json)",
        ),
        (f"evaluate {RESULT}", f"{RESULT}: no parameters beside it (0.safetensors); copy them too"),
        ("evaluate workflow/x.json", "workflow/x.json: no such file"),
        ("compare src src", "src: no results in it; name a project, a scale or a folder"),
        ("compare README.md src", "README.md: no results in it; name a project, a scale"),
        ("choose --setting lr --out o.json README.md", "README.md: not valid JSON"),
        ("choose --setting lr --out o.json src", "src: a folder; name a file"),
        (f"choose --setting lr --out o.json {CANDIDATE}", "lr: no number in the settings of mini_"),
        (f"choose --setting selection --out o.json {CANDIDATE}", "selection: no number in the set"),
        ("plan src", "src: a folder; name a YAML file"),
        ("plan README.md/x", "README.md/x: no such file"),
        ("report site --scale none --out o", "--scale: no scale with results named 'none'"),
        ("data prepare --dataset omniglot --out src", "src: holds multistep, which isn't of what"),
        ("data prepare --dataset omniglot --out README.md", "README.md: a file is in the way"),
    ],
)
def test_the_option_and_the_key_are_named(
    line: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PARAMS.parent)
    assert cli.main(line.split()) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: ")
    assert said in told


COUNTS = ("0", "-1", "x", "1.5", "nan")


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        *(("evaluate x.json", option, COUNTS) for option in ("--steps", "--window", "--threads")),
        ("evaluate x.json", "--episodes", (*COUNTS, "1")),
        ("evaluate x.json", "--rate", ("0", "-1", "x", "nan", "inf", "-inf")),
        ("verify", "--jobs", COUNTS),
        *(
            (f"{command} {{}}", option, values)
            for command in ("train --cell", "pretrain --name n --spec")
            for option, values in (
                ("--threads", COUNTS), ("--checkpoint-seconds", ("-1", "x", "nan", "inf")),
            )
        ),
        ("measure --definition {}", "--threads", COUNTS),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused_with_the_option(
    command: str, option: str, values: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command.split(), f"{option}={value}"])
        assert stopped.value.code == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: " in told
        assert value in told
        assert "_" not in told  # no name of a function


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("compare @ scales", "A"),
        ("compare scales @", "B"),
        ("verify @", "PATH"),
        ("verify --remove --remote @", "--remote"),
        ("status params.yaml @", "FILE"),
        ("report audit --project @ --out o.json", "--project"),
        ("report audit --out @", "--out"),
        ("data prepare --dataset omniglot --out @", "--out"),
        ("evaluate r.json --data @", "--dataset/--data"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    command: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an unset variable of a shell gives it."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["" if word == "@" else word for word in command.split()])
    assert stopped.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {named}: it is empty; is a variable of the shell unset?" in told


def test_every_path_of_every_command_is_refused_empty() -> None:
    parsers: list[Any] = [cli.parser_of()]
    paths = []
    for parser in parsers:  # it grows by those of subcommands
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += dict.fromkeys(action.choices.values())
            elif action.type is Path:
                paths.append(action)
                with pytest.raises(argparse.ArgumentTypeError, match="it is empty"):
                    parser._registry_get("type", Path)("")
    assert len(paths) > 30


def test_a_shell_completes_commands_options_choices_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    code = """
source <("$0" -m multistep.cli completion bash)
try() { COMP_WORDS=(multistep "$@"); COMP_CWORD=$#; COMPREPLY=(); COMP_LINE="multistep $*"
  COMP_POINT=${#COMP_LINE}; _shtab_multistep; echo "${COMPREPLY[@]}"; }
try comp; try report cl; try evaluate --fl; try evaluate --protocol un
for command in plan train compare; do try $command mi; done; try compare mine.yaml mi
"""
    run = ["bash", "-c", code, sys.executable]
    found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split() for line in found.stdout.splitlines()] == [
        ["compare", "completion"], ["claims"], ["--floors"], ["unbalanced"],
        *4 * [["mine.yaml"]],
    ]  # fmt: skip
