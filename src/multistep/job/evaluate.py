"""Test trained parameters again, without training.

Few-shot cells: with other numbers of episodes, inner steps, windows and rates, with queries that
are classified together or apart (`--protocol`), and beside what there is without meta-training
(`--floors`). The episodes are those of the cell's own test. The table is printed; `--out` keeps
a record of each cell, sealed, with every episode's accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from multistep import kinds, options
from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.files import UserError, build_command
from multistep.job import parameters, results
from multistep.job.protocols import EPISODES, PROTOCOLS
from multistep.job.record import TESTED_WITH, TRAINED, name_of
from multistep.plan import provenance
from multistep.plan.families import module
from multistep.progress import say
from multistep.settings import broken_windows, repeated


def add_parser(subparsers: Any) -> None:
    """`multistep evaluate`."""
    parser = subparsers.add_parser(
        "evaluate", help="test trained parameters again", description=__doc__
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="results or their .safetensors")
    several, positive = options.whole(2, "an interval needs two"), options.whole()
    add("--episodes", type=several, help="how many, from 2 (default: the cell's)")
    add("--steps", type=positive, help="inner steps (default: the cell's)")
    add("--window", type=positive, help="steps that share one gradient (default: the cell's)")
    add("--rate", type=options.positive, help="inner learning rate (default: the cell's)")
    add("--protocol", action="append", choices=[*PROTOCOLS, "all"],
        help="(repeatable) which queries are classified together: "
        + "; ".join(f"{name}, {what}" for name, what in PROTOCOLS.items()))  # fmt: skip
    add("--floors", action="store_true", help="also without meta-training, and the nearest pixels")
    add("--dataset", "--data", type=Path, help="other prepared images (default: the cell's)")
    add("--out", type=Path, metavar="FOLDER",
        help="for the records: FOLDER/<experiment>/<dataset>/<method>/<seed>.json")  # fmt: skip
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--threads", type=positive, default=1, help="CPU threads (default 1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Test every file, print the table, write the records."""
    wanted = {"test_steps": args.steps, "window": args.window, "inner_lr": args.rate}
    changes = {key: value for key, value in wanted.items() if value is not None}
    asked = args.protocol or ["together"]
    protocols = list(PROTOCOLS) if "all" in asked else list(dict.fromkeys(asked))
    how = {"episodes": args.episodes, "protocols": protocols, "floors": args.floors}
    given = [_given(file, args, changes) for file in args.files]  # all, before any is tested
    if twice := repeated(each.out for each in given if each.out):
        raise UserError(f"{twice[0]}: two of the files have this record; --out for each by itself")
    for each in given:
        if each.out:
            _check_kept(each.out, each.about, each.images, changes, **how)
    from multistep.job import device  # imports torch, which --help and a mistake needn't wait for

    place = device.prepare(args.device, args.threads)
    environment = device.environment(place, args.threads) if args.out else None
    tests, codes = [], []
    for each in given:
        family, algorithm = each.about["cell"]["family"], each.about["cell"]["algorithm"]
        with parameters.named(each.file):
            tester = module(family, "trained").tester
            tests.append(tester(each.about, each.tensors, each.images, place, **how, **changes))
        codes.append(provenance.code(*provenance.evaluation_modules(family, algorithm)))
    found: list[dict[str, Any]] = []
    own: list[bool] = []  # whether it was tested on the cell's images
    try:
        for each, test, code in zip(given, tests, codes, strict=True):
            about, images, cell = each.about, each.images, each.about["cell"]
            with parameters.named(each.file):
                used, rows = test()
            entry = {"cell": cell, "dataset": images.name, "settings": used, "rows": rows}
            entry["parameters"] = about["digest"]
            found.append(entry)
            own.append(images.digest == about["made_from"]["dataset"])
            made_from = {**about["made_from"], "dataset": images.digest}
            if each.made is not None:
                tested = entry | {"made_from": made_from}
                beside = each.file.with_suffix(".json")
                results.check_tested(each.file, tested, beside, each.made)
            if each.out:
                entry |= {"kind": "evaluation", "environment": environment}
                results.write(each.out, entry, made_from | {"code": code})
    finally:  # what was tested before a fault is not lost
        if found:
            print(table(found, own))
    for entry in found:
        for what, of in entry["rows"].items():
            broken = {p: row.get("non_finite_episodes") for p, row in of.items()}
            if any(broken.values()):
                say(f"{entry['cell']['method']}, {what}: outputs aren't finite in "
                    + ", ".join(f"{n} episodes ({p})" for p, n in broken.items() if n)
                    + "; those of a run that diverged, so lower --rate")  # fmt: skip


class _Given(NamedTuple):
    """A file that is to be tested: its header and tensors, the result beside it if there is one,
    the images to test on, and where the record goes, if anywhere.
    """

    file: Path
    about: dict[str, Any]
    tensors: dict[str, Any]
    made: dict[str, Any] | None
    images: Prepared
    out: Path | None


def _given(file: Path, args: argparse.Namespace, changes: dict[str, Any]) -> _Given:
    """Read all that a test of a file needs, images last."""
    path = parameters.of(file)
    about, tensors, made = parameters.read(path)
    own = SimpleNamespace(**about["cell"]["settings"] | changes)
    if about["cell"]["family"] == "few_shot":
        option = {key: f"--{name}" for name, key in TESTED_WITH.items()}
        for broken in broken_windows(own, option.__getitem__, keys=["test_steps"]):
            raise UserError(f"{path}: {broken}")
    out = args.out and args.out / f"{name_of(about['cell'])}.json"
    if out:
        kinds.check_place(out, kinds.EVALUATION)
    images = prepared.read(args.dataset) if args.dataset else _own_images(path, about)
    _check_classes(path, about, images)
    return _Given(file, about, tensors, made, images, out)


def _own_folder(path: Path, about: dict[str, Any]) -> tuple[Path, Path]:
    """The folder of the scale that has a file of parameters, and where its data are."""
    home = next((p.parent for p in path.absolute().parents if p.name == "results"), Path())
    return home, home / "data" / "processed" / about["cell"]["dataset"]


def _check_classes(path: Path, about: dict[str, Any], images: Prepared) -> None:
    """Compare the classes of other images with those that were trained on, by name."""
    if images.digest != about["made_from"]["dataset"]:
        few_shot = about["cell"]["family"] == "few_shot"
        (_say_seen_classes if few_shot else _check_outputs)(path, about, images)


def _trained_on(path: Path, about: dict[str, Any], doubt: str) -> prepared.Description | None:
    """The data that were trained on; None, with the doubt told, where they aren't there."""
    folder = _own_folder(path, about)[1]
    try:
        own = prepared.describe(folder)
    except UserError:  # not there, or damaged
        own = None
    if own is not None and own.digest == about["made_from"]["dataset"]:
        return own
    say(f"{path}: what it was trained on isn't in {folder}, so whether {doubt}")
    return None


def _say_seen_classes(path: Path, about: dict[str, Any], images: Prepared) -> None:
    """Say which of the classes that episodes are drawn from were trained on: datasets split the
    same classes in different ways, such as CIFAR-FS and FC100.
    """
    own = _trained_on(
        path, about,
        f"the test classes of {images.name} are new to it isn't known; if they aren't, its "
        "accuracy there isn't that of new classes",
    )  # fmt: skip
    if own is None:
        return
    held_out = about["cell"]["settings"]["hold_out_validation"]
    counts = own.counts()
    labels = {*counts["train"], *(() if held_out else counts["validation"])}
    trained = {own.classes[label] for label in labels}
    tested = [images.classes[i] for i in np.unique(images.labels[images.splits["test"]])]
    if seen := [name for name in tested if name in trained]:
        more = f" and {len(seen) - 3} more" if seen[3:] else ""
        say(
            f"{path}: it was trained on classes with the names of {len(seen)} of {len(tested)} "
            f"test classes of {images.name} ({', '.join(seen[:3])}{more}), so its accuracy there "
            "isn't that of new classes"
        )


def _check_outputs(path: Path, about: dict[str, Any], images: Prepared) -> None:
    """Raise UserError where a network's outputs are other classes, by name and place. (Another
    number of them the tester refuses.)
    """
    if len(images.classes) != about["network"].get("classes"):
        return
    own = _trained_on(
        path, about,
        f"the classes of {images.name} are those that it tells apart isn't known; if they "
        "aren't, its accuracy there means nothing",
    )  # fmt: skip
    if own is not None and own.classes != images.classes:
        pairs = zip(images.classes, own.classes, strict=True)
        theirs, ours = next(pair for pair in pairs if pair[0] != pair[1])
        raise UserError(
            f"{path}: {images.name} has other classes than {about['cell']['dataset']}, whose the "
            f"network tells apart ({theirs!r} in the place of {ours!r}), so its accuracy there "
            "would mean nothing; choose data with the cell's classes, in their order"
        )


def _own_images(path: Path, about: dict[str, Any]) -> Prepared:
    """The images that a cell was trained on."""
    home, folder = _own_folder(path, about)
    cell = about["cell"]
    if not folder.exists():
        if not any((place / "params.yaml").is_file() for place in (home, home.parent.parent)):
            raise UserError(
                f"{path}: in no project, whose images it could be tested on; name some with "
                "--dataset"
            )
        raise UserError(
            f"{folder}: not there, the images that {path} was trained on; build them first "
            f"({build_command(folder / 'dataset.json')}), or name some with --dataset"
        )
    images = prepared.read(folder, cell["dataset"], cell["data"])
    if images.digest != about["made_from"]["dataset"]:
        raise UserError(
            f"{folder}: it isn't the data that {path} was trained on; if it is meant, say so with "
            f"--dataset {folder}"
        )
    return images


def _check_kept(
    out: Path, about: dict[str, Any], images: Prepared, changes: dict[str, Any], *,
    episodes: int | None, protocols: list[str], floors: bool,
) -> None:  # fmt: skip
    """Raise UserError, before any work, where the record of another test would be written over,
    and for other settings than the cell's in evaluations/. A record that has less can go.
    """
    cell = about["cell"]
    own = {"test_episodes": EPISODES} | cell["settings"] | changes
    own |= {"test_episodes": episodes} if episodes else {}
    new = {name: own[key] for name, key in TESTED_WITH.items() if key in own}
    planned = out.absolute().parts[-5] == "evaluations"
    if planned and (other := results.otherwise({"cell": cell, "settings": new})):
        raise UserError(
            f"{out}: evaluations/ is for tests with the cell's own settings ({other}); name "
            "another --out"
        )
    try:
        kept = results.read(out)
    except UserError:  # none, a damaged one, or in evaluations/ one of other parameters
        return
    settings = kept["settings"].items()
    lost = [f"{name} {was:g}" for name, was in settings if new.get(name, was) != was]
    lost += [f"protocol {p}" for p in kept["rows"][TRAINED] if p not in (*protocols, "test")]
    lost += ["floors"] if len(kept["rows"]) > 1 and not floors else []
    lost += ["other images"] if kept["made_from"]["dataset"] != images.digest else []
    lost += [f"scale {was}"] if (was := kept["cell"]["scale"]) != cell["scale"] else []
    lost += ["other parameters"] if kept["parameters"] != about["digest"] else []
    if lost:
        raise UserError(
            f"{out}: in the way, the record of another test ({', '.join(lost)}); name another "
            "--out, or move it away"
        )


def table(found: list[dict[str, Any]], own: list[bool]) -> str:
    """Rows are cells with their floors, columns protocols, in Markdown; `own`: of each, whether it
    was tested on the cell's own images.
    """
    scales = {entry["cell"]["scale"] for entry in found}
    columns = list(dict.fromkeys(c for e in found for of in e["rows"].values() for c in of))
    lines = [["", *columns], [":--", *["--:"] * len(columns)]]
    for entry, is_own in zip(found, own, strict=True):
        cell, name = entry["cell"], entry["dataset"]
        other = f"other images of {name}" if name == cell["dataset"] else name
        head = f"{cell['scale']}: " if len(scales) > 1 else ""
        head += f"{cell['experiment']}, {cell['method']}, seed {cell['seed']}"
        head += "" if is_own else f", tested on {other}"
        for what, of in entry["rows"].items():
            label = head if what == TRAINED else f"&emsp;{what}"
            lines.append([label, *(_shown(of.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if "ci95" in row:
        return f"{row['mean']:.2f} ± {row['ci95']:.2f}"
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
