"""`multistep data download` and `multistep data prepare`: what the rules of the same names call."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from multistep import kinds, lock
from multistep.data import loaders
from multistep.data.archives import names
from multistep.data.download import fetch, one_writer
from multistep.data.identity import write_record
from multistep.data.settings import Archive, Dataset
from multistep.declared import imported
from multistep.files import UserError, check_folder, own_path
from multistep.plan import params
from multistep.plan.mistakes import check_known
from multistep.settings import Model, json_of, parse


def add_parser(subparsers: Any) -> None:
    """Add `data` with its two steps."""
    parser = subparsers.add_parser("data", help="download (or draw) archives and prepare them")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    download = steps.add_parser("download", help="fetch one archive, or draw a stand-in's")
    download.add_argument("--archive", required=True, help="its name under `archives:`")
    download.add_argument(
        "--out", type=Path, help="default: data/raw/DATASET/ARCHIVE, where the scale builds"
    )
    download.add_argument("--source", type=Path, help="a folder of yours that holds the archive")
    download.add_argument("--record", type=Path, help="where to say what came; default: beside it")
    download.add_argument("--loader", help="the loader whose stand-in `drawn:` describes")
    download.set_defaults(run=run_download)

    prepare = steps.add_parser("prepare", help="decode a dataset's archives into one array")
    prepare.add_argument(
        "--raw", type=Path, help="default: data/raw/DATASET, where the scale builds"
    )
    prepare.add_argument("--out", type=Path, help="default: data/processed/DATASET, there too")
    prepare.set_defaults(run=run_prepare)

    for step in (download, prepare):
        step.add_argument("--dataset", required=True, help="its name under `datasets:`")
        step.add_argument("--spec", help="its entry in params.yaml as JSON, instead of --params")
        step.add_argument(
            "--params", type=Path, nargs="+", default=[Path("params.yaml")], metavar="FILE",
            help="params.yaml and overlays (default: params.yaml)",
        )  # fmt: skip


def run_download(args: argparse.Namespace) -> None:
    """Fetch `--archive`; an entry with `drawn:` is drawn instead."""
    folder, loader, home = args.source, args.loader, Path()
    if args.spec is not None:
        entry = parse(Archive, json_of("--spec", args.spec), "--spec: ")
    else:
        merged = params.load(*args.params)
        project = args.params[0].parent
        home = project / merged.directory
        check_known("--dataset", [args.dataset], merged.archived, "dataset or source network")
        owner = merged.archived[args.dataset]
        check_known("--archive", [args.archive], owner.archives, f"archive of {args.dataset}")
        entry = owner.archives[args.archive]
        if folder is None and (own := merged.sources.get(args.dataset)):
            folder = own_path(own, project)
        loader = loader or getattr(owner, "loader", None)
    out = args.out or home / "data/raw" / args.dataset / args.archive
    if out.name != args.archive:
        raise UserError(f"--out {out}: must end in {args.archive}")
    if args.record is not None:
        kinds.check_place(args.record, "the record of an archive")
    if entry.drawn is not None:
        if loader is None:
            raise UserError("--loader: needed to draw a stand-in")
        try:
            stand_in = importlib.import_module(f"multistep.data.standins.{loader}")
        except ModuleNotFoundError:
            raise UserError(f"datasets: the loader {loader!r} has no stand-in to draw") from None
        with one_writer(out):
            stand_in.draw(out, parse(stand_in.Settings, entry.drawn, "--spec: drawn."))
            write_record(entry, out, args.record)
    elif not entry.verifiable:
        raise UserError(f"{args.archive}: needs `urls` and `sha256`, or `drawn` for a stand-in")
    else:
        fetch(entry, out, dataset=args.dataset, folder=folder, record=args.record)


def run_prepare(args: argparse.Namespace) -> None:
    """Run the dataset's loader on its archives."""
    home = Path()
    if args.spec is not None:
        dataset = parse(Dataset, json_of("--spec", args.spec), "--spec: ")
    else:
        merged = params.load(*args.params)
        home = args.params[0].parent / merged.directory
        check_known("--dataset", [args.dataset], merged.datasets, "dataset")
        dataset = merged.datasets[args.dataset]
    check_known("--spec: loader", [dataset.loader], loaders.names(), "loader")
    raw = args.raw or home / "data/raw" / args.dataset
    out = args.out or home / "data/processed" / args.dataset
    check_folder(out, ("images.npy", "dataset.json", "lock"))
    kinds.check_name(out / "dataset.json", args.dataset)
    module = imported(f"multistep.data.loaders.{dataset.loader}", "prepare", Settings=Model)
    parse(module.Settings, dataset.prepare, "--spec: prepare.")
    with lock.exclusive(out / "lock", f"{out}: another process is preparing it", wait=True):
        try:
            module.prepare(args.dataset, dataset, raw, out)
        except UserError as error:
            raise UserError(f"{error}{_instead(dataset, raw)}") from None
        if not (out / "dataset.json").exists():
            raise UserError(f"{module.__file__}: prepare wrote nothing; it ends in prepared.write")


def _instead(dataset: Dataset, raw: Path) -> str:
    """What the archives are like, where nothing in them is of the layout that was asked for."""
    try:
        found = [member for name in dataset.archives for member in names(raw / name)]
        able = loaders.readers(found)
    except UserError:
        return ""
    if dataset.loader in able or not found:
        return ""
    like = f", as the loader {able[0]} reads them" if able else ""
    return (
        f"; nothing there is what the loader {dataset.loader} reads: its members are such as "
        f"{found[0]}{like} (docs/bringing-your-data.md)"
    )
