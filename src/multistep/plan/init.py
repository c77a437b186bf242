"""`multistep init`: an own method or an own dataset, ready to run, to be changed line by line.

    multistep init method mine --like maml
    multistep init dataset birds /data/birds.zip

writes an overlay workflow/scales/<name>.yaml, whose only experiment it is, a table of its results
(workflow/report/<name>/tables/<name>.yaml), and for a method a copy of the algorithm that it is
like, with its tests. Nothing that is there is written over.
"""

from __future__ import annotations

import argparse
import keyword
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from multistep.files import UserError, own_path, sha256, write_text
from multistep.pages import load
from multistep.plan import families, params
from multistep.plan.checks import RESERVED
from multistep.plan.layers import merge
from multistep.plan.mistakes import check_known
from multistep.plan.schema import Params
from multistep.settings import parse, repeated

# Small enough to be over in minutes on a CPU; what it is in params.yaml stands beside it.
SIZES: dict[str, dict[str, Any]] = {
    "few_shot": {
        "iterations": 200, "validate_every": 100, "validation_episodes": 50, "test_episodes": 100,
    },
    "transfer": {"target": {"width": 16}, "batch_size": 32, "epochs": 2, "log_every": 2},
}  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add `init` to the command line of `multistep`."""
    parser = subparsers.add_parser(
        "init", help="begin an own method or dataset", description=__doc__.partition("\n")[0]
    )
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    method = kinds.add_parser("method", help="a copy of an algorithm, its tests, a scale for it")
    dataset = kinds.add_parser("dataset", help="a scale for archives of <root>/<class>/<image>")
    for kind, write in ((method, own_method), (dataset, own_dataset)):
        kind.add_argument("name", metavar="NAME", help="of a-z, 0-9 and _")
        kind.add_argument("--project", type=Path, default=Path(), help="its folder (default: here)")
        kind.set_defaults(run=run, write=write)
    method.add_argument("--like", default="maml", help="a method of params.yaml (default: maml)")
    dataset.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="zip or tar")
    dataset.add_argument(
        "--episodes", action="store_true",
        help="hold out whole classes, for few-shot learning (default: images, for meta-transfer)",
    )  # fmt: skip
    dataset.add_argument("--size", type=int, default=32, help="pixels of a side (default 32)")


def run(args: argparse.Namespace) -> None:
    """Write the files, all or none, and say what to type."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{,63}", args.name):
        raise UserError(
            f"{args.name}: a name here begins with a-z, and has a-z, 0-9 and _, at most 64 of them"
        )
    taken = {*RESERVED, *load.RULES, *keyword.kwlist}
    if args.name in taken or _flow(args.name) != args.name:
        raise UserError(f"{args.name}: a word of Python, YAML or this project; choose another name")
    file = args.project / "params.yaml"
    [given] = params.layers(file)
    base = params.merged([file], [given])
    for what in ("methods", "datasets", "experiments", "source_networks"):
        if args.name in getattr(base, what):
            raise UserError(f"{args.name}: one of the {what} of params.yaml; choose another name")
    files = dict(args.write(args, base))
    pages = [Path("workflow/report") / form / f"{args.name}.yaml" for form in load.FORMS]
    if there := [str(path) for path in (*files, *pages) if (args.project / path).exists()]:
        raise UserError(f"{', '.join(there)}: there already; choose another name, or move it away")
    overlay = Path(f"workflow/scales/{args.name}.yaml")
    if args.what == "dataset":  # of a method the algorithm isn't there yet
        try:
            params.validate(merge(given, yaml.safe_load(files[overlay])))
        except UserError as error:
            wrong = [line.strip() for line in str(error).splitlines()[1:]]
            raise UserError(f"{args.name}: {'; '.join(wrong)}") from None
    for path, text in files.items():
        write_text(args.project / path, text)
        print(path)
    print(
        f"next: multistep plan params.yaml {overlay}\n"
        f"      snakemake --configfile {overlay} -n\n"
        f"      snakemake --configfile {overlay} --cores all"
    )


def own_method(args: argparse.Namespace, base: Params) -> Iterator[tuple[Path, str]]:
    """The files of a method by their place in the project."""
    name, like = args.name, args.like
    check_known("--like", [like], base.methods, "method")
    of, about = base.methods[like], base.experiments
    experiments = [n for n, e in about.items() if like in e.methods]
    if not experiments:
        raise UserError(f"--like {like}: no experiment of params.yaml trains it; name another")
    experiment = about[experiments[0]]
    package = families.package(experiment.family).replace(".", "/")
    place = Path("src") / package / "algorithms"
    kind = families.algorithm(experiment.family, of.algorithm).__name__
    own = "".join(part.title() for part in name.split("_"))
    text = (args.project / place / f"{of.algorithm}.py").read_text(encoding="utf-8")
    if keyword.iskeyword(own) or re.search(rf"\b{own}\b", text):
        raise UserError(f"{name}: the class would be called {own}, as another; choose another name")
    tests = Path("tests") / Path(package).name
    alone = "a class `Options`, under `options:` in params.yaml"
    if experiment.family == "transfer":
        alone = "a class `Settings` derived from `Transfer`, beside the others in params.yaml"
    head = f'''"""{own}: a copy of {of.algorithm}.py to begin with; say here in a line what it does.

`cost` is what a test counts, `meta_gradient` the update. Settings that it alone has are fields of
{alone}.
Its tests compute the same naively: {tests}/test_{name}.py.

{of.algorithm}.py says:

'''
    yield place / f"{name}.py", re.sub(rf"\b{kind}\b", own, text.replace('"""', head, 1))
    test = args.project / tests / f"test_{of.algorithm}.py"
    if test.exists():
        renamed = {rf"\b{kind}\b": own, rf'"{of.algorithm}"': f'"{name}"'}
        renamed[rf"\.{of.algorithm}\b"] = f".{name}"
        text = test.read_text(encoding="utf-8")
        for pattern, word in renamed.items():
            text = re.sub(pattern, word, text)
        yield tests / f"test_{name}.py", text
    settings = merge(of.settings, experiment.overrides.get(like, {}))
    small = {key: settings[key] for key in SIZES[experiment.family] if key in settings}
    block = f"""methods:
  {name}:
    title: {name}
    algorithm: {name}    # {place}/{name}.py
    settings: {_flow({k: v for k, v in settings.items() if k not in small})}    # as {like}
"""
    sizes = {key: SIZES[experiment.family][key] for key in small}
    dataset = experiment.datasets[0]
    overrides = {like: merge(experiment.overrides.get(like, {}), sizes)} if small else {}
    yield from _scale(
        base, experiment.family, name, f"a method of our own, beside {like}.", block, dataset,
        base.datasets[dataset].title, [like, name], experiment.settings, overrides,
    )  # fmt: skip


def own_dataset(args: argparse.Namespace, base: Params) -> Iterator[tuple[Path, str]]:
    """The files of a dataset, whose images and classes are counted, by their place."""
    from multistep.data.archives import FETCH_AGAIN
    from multistep.data.loaders import image_folder
    from multistep.data.settings import Archive, Dataset

    name, archives = args.name, [own_path(path).absolute() for path in args.archives]
    for path in archives:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise UserError(f"{path}: {what}; pack the folder of classes as zip or tar")
    if twice := repeated(path.name for path in archives):
        raise UserError(f"{twice[0]}: given more than once; archives of a dataset have own names")
    if len({path.parent for path in archives}) > 1:
        raise UserError("the archives of a dataset lie in one folder; copy them there")
    try:
        of_class = image_folder.folders(archives)
    except UserError as error:  # it is the user's own file, and may be the only one
        raise UserError(str(error).replace(FETCH_AGAIN, "pack it anew")) from None
    if len(of_class) < 2:
        raise UserError(
            f"{archives[0]}: {len(of_class)} classes of images; it takes two folders or more, with "
            "files that end in " + ", ".join(sorted(image_folder.ENDINGS))
        )
    smallest = min(of_class, key=lambda label: len(of_class[label]))
    least = len(of_class[smallest])
    whole = "classes" if args.episodes else "images"
    among = len(of_class) if args.episodes else least
    if args.episodes and least < 2:
        raise UserError(f"{smallest}: one image; episodes need two or more, to adapt to and to ask")
    held_out = max(2 if args.episodes else 1, round(0.2 * among))
    if among < 3 * min(held_out, 2):
        raise UserError(
            f"{archives[0]}: {len(of_class)} classes, {least} images in the smallest, {smallest}; "
            f"too few to hold out {whole} for validation and test, so add some or leave it out"
        )
    prepare = {"size": args.size, "split": whole, "validation": held_out, "test": held_out}
    prepare["seed"] = 0
    parts = image_folder.divided(name, of_class, parse(image_folder.Settings, prepare, "--"))
    entry = {
        "loader": "image_folder",
        "title": name,
        "classes": len(of_class),
        **({"images_per_class": least} if args.episodes else {}),
        "images": {part: len(parts[part]) for part in ("train", "validation", "test")},
        "archives": {path.name: {"sha256": sha256(path)} for path in archives},
        "prepare": prepare,
    }
    parse(Dataset, entry | {"archives": {"a.zip": Archive()}}, f"datasets.{name}.")
    for path in archives:
        parse(Dataset, entry | {"archives": {path.name: Archive()}}, f"{path}: rename it: ")
    block = f"sources: {_flow({name: str(archives[0].parent)})}    # where its archives lie\n"
    block += f"datasets:\n  {name}:    # as counted in the archives\n"
    block += "".join(f"    {key}: {_flow(value)}\n" for key, value in entry.items())
    settings: dict[str, Any] = {}
    if args.size != base.transfer["size"]:
        settings = {"size": args.size}
    methods, family, use = ["scratch", "l2t", "l2t_multistep"], "transfer", "a target of transfer"
    if args.episodes:
        steps = math.gcd(base.few_shot["inner_steps"], base.few_shot["test_steps"])
        known = ("maml", "fomaml", "multistep4", "multistep2")
        methods = [m for m in known if steps % base.methods[m].settings.get("window", 1) == 0][:3]
        family, use = "few_shot", "for episodes"
        settings = dict(base.experiments["mini_5way_1shot"].settings)
        settings |= {"ways": min(5, held_out), "queries": min(15, least - 1), "selection": "last"}
        settings["validation_episodes"] = SIZES["few_shot"]["validation_episodes"]
    about = f"a dataset of our own, {use}."
    yield from _scale(base, family, name, about, block, name, name, methods, settings, {})


def _scale(
    base: Params, family: str, name: str, about: str, own: str, dataset: str, title: str,
    methods: Sequence[str], settings: dict[str, Any], overrides: dict[str, Any],
) -> Iterator[tuple[Path, str]]:  # fmt: skip
    """The overlay (`about`: its first line; `own`: YAML of what is new) and its table."""
    overlay = Path("workflow/scales") / f"{name}.yaml"
    page = Path("workflow/report") / name / "tables" / f"{name}.yaml"
    common, small = getattr(base, family), SIZES[family]
    if family == "few_shot":
        settings = settings | {"meta_batch": 4}
        heading = f"{settings['ways']}-way {settings['shots']}-shot"
    else:
        heading = title
        if "target" in settings:  # its own network: of the family's only the width is cut
            settings = settings | {"target": settings["target"] | small["target"]}
    settings = {
        key: value for key, value in settings.items() if key not in small or key == "target"
    }
    lines = [
        f"# {name}: {about} Written by `multistep init`, to be changed;",
        "# what is left out is as in params.yaml.",
        f"# Its table: scales/{name}/reports/tables/{name}.md, of {page}",
        f"scale: {name}",
        f"directory: scales/{name}",
        "device: cpu",
        f"families: [{family}]",
        f"only: [{name}]    # the experiments of params.yaml stay off",
        "seeds: [0]    # params.yaml: " + ", ".join(map(str, base.seeds)),
        "",
        own,
        f"{family}:    # to see that it runs, in minutes",
        *(f"  {k}: {_flow(v)}    # params.yaml: {_flow(common[k])}" for k, v in small.items()),
        "",
        "experiments:",
        f"  {name}:",
        f"    family: {family}",
        f"    datasets: [{dataset}]",
        f"    methods: {_flow(list(methods))}",
        f"    settings: {_flow(settings)}",
        *([f"    overrides: {_flow(overrides)}"] if overrides else []),
        "    measured: {datasets: [], methods: []}    # without this line all are timed, in turn",
    ]
    yield overlay, "\n".join(lines) + "\n"
    table: dict[str, Any] = {
        "title": name,
        "caption": "{data}: accuracy (%)",
        "beyond": True,
        "columns": {dataset if family == "transfer" else name: heading},
    }
    if family == "few_shot":
        table |= {"kind": "accuracy", "dataset": dataset, "methods": list(methods)}
    else:
        source = settings.get("source", common["source"])
        table |= {"kind": "transfer", "sources": {dataset: source}}
        table["rows"] = {method: {dataset: name} for method in methods}
    text = "".join(f"{key}: {_flow(value)}\n" for key, value in table.items())
    yield page, f"# The table of {overlay}; docs/adding.md has other kinds.\n{text}"


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=2**20, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
