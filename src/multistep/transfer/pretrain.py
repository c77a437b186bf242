"""Source networks: take published weights, or train it; score it on its dataset's test part.

`multistep pretrain --name N --spec '<json>'` is what the rule `source_network` calls. Training is
as deterministic as that of a cell: on the CPU the same weights to the bit, however often it was
killed and resumed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from multistep import kinds
from multistep.data import prepared
from multistep.files import UserError, check_folder, check_writable, sha256
from multistep.job import arguments
from multistep.plan import provenance
from multistep.progress import say
from multistep.settings import json_of, parse
from multistep.transfer.source_record import WEIGHTS
from multistep.transfer.source_settings import SourceNetwork

CODE = ["multistep.transfer.pretrain"]  # with all that it imports


def add_parser(subparsers: Any) -> None:
    """`multistep pretrain`."""
    parser = subparsers.add_parser("pretrain", help="make a source network", description=__doc__)
    parser.add_argument("--name", required=True, help="its name in params.yaml")
    parser.add_argument("--spec", required=True, help="its entry in params.yaml as JSON")
    parser.add_argument("--prepared", help="how its dataset was prepared, as JSON (the plan's)")
    parser.add_argument(
        "--published", "--checkpoint-file", type=Path, help="take these weights, don't train"
    )
    arguments.add(parser, "data/networks/<name>", "scratch/networks/<name>.pt", network=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the weights that are given, or train (or resume) on the data; score it; write it."""
    spec = parse(SourceNetwork, json_of("--spec", args.spec), "--spec: ")
    name, data, published = args.name, args.data, args.published
    out = args.out or Path("data/networks") / name
    scratch = args.checkpoint or Path(f"scratch/networks/{name}.pt")
    if published is not None and spec.layout is None:
        raise UserError(f"{name}: weights are given, but no layout; set l2t_ww or torchvision")
    if published is not None and published.resolve() == (out / WEIGHTS).resolve():
        raise UserError(f"--out {out}: the weights that are read lie there; name another folder")
    if published is None and (spec.train is None or data is None):
        raise UserError(
            f"{name}: nothing to make it from; give weights (archives and layout), or a "
            "dataset and train"
        )
    # What imports torch, seconds on a busy machine: not for --help or a wrong command line.
    from multistep.job import checkpoint, device, loop
    from multistep.transfer import source_training as training
    from multistep.transfer import sources

    place = device.prepare(args.device, args.threads)
    environment, code = device.environment(place, args.threads), provenance.code(*CODE)
    preparation = None if args.prepared is None else json_of("--prepared", args.prepared)
    images = None if data is None else prepared.read(data, spec.dataset, preparation)
    if images is not None and len(images.classes) != spec.classes:
        raise UserError(
            f"{data}: {len(images.classes)} classes, but the source network {name} has "
            f"{spec.classes}; correct its classes or its dataset"
        )
    check_folder(out, (WEIGHTS, sources.DESCRIPTION))
    kinds.check_name(out / sources.DESCRIPTION, name)
    for path in (out / WEIGHTS, scratch):
        check_writable(path)
    with checkpoint.exclusive(scratch):
        if published is not None:
            assert spec.layout is not None
            weights, facts = sources.load_published(
                published, spec.layout, spec.architecture, spec.classes
            )
            made = training.scored(
                spec, weights, {"published": facts}, [], images, place, environment
            )
        else:
            assert images is not None
            network = training.Training(name, spec, images, place)
            what = [spec.model_dump(include={"architecture", "classes", "train"}), images.digest]
            key = checkpoint.run_key(what, CODE, place, args.threads)

            def outcome() -> dict[str, Any]:
                kept, metrics = network.state["best_weights"], network.metrics()
                return training.scored(
                    spec, kept, metrics, network.history, images, place, environment
                )

            made = loop.to_the_end(network, scratch, key, args.checkpoint_seconds, place, outcome)
        made_from = {
            "dataset": None if images is None else images.digest,
            "network": None if published is None else sha256(published),
            "code": code,
        }
        sources.save(out, name, spec, made.pop("weights"), made, made_from)
    metrics = made["metrics"]
    said = f"test accuracy {metrics['test_accuracy']:.2f} % " if images is not None else ""
    say(f"{name}: {said}→ {out}")
