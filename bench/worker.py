"""Meta-iterations of one build of the package, asked for line by line: `python worker.py ROOT
THREADS TASKS EXPERIMENT...`. Of an experiment of meta-transfer TASKS are images, and a method is
asked for with its scheme, as in "adam_32 l2t/replay".

ROOT is a checkout, this one or that of an older commit, whose modules are imported in this process
of their own. After "ready" each line "experiment method" on standard input is answered by one JSON
object; the first of a method has the bytes that a task keeps and its meta-gradient's means too.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(root: str, threads: str, tasks: str, *experiments: str) -> None:
    """Serve until standard input ends."""
    sys.path[:0] = [root, f"{root}/src"]
    device = _module("multistep.job.device", "multistep.device")
    place = device.prepare("cpu", int(threads))
    with tempfile.TemporaryDirectory() as folder:
        trainers: dict[str, Any] = {}
        for e in experiments:
            transfer = e.endswith("_32")
            trainers[e] = Learners(e, int(tasks)) if transfer else _trainers(e, int(tasks), folder)
        print("ready", flush=True)
        rounds: dict[tuple[str, str], int] = {}
        for line in sys.stdin:
            experiment, method = line.split()
            trainer, memory = trainers[experiment][method]
            number = rounds.get((experiment, method), 0)
            rounds[experiment, method] = number + 1
            answer: dict[str, Any] = {}
            if not number:
                answer["bytes"] = memory(trainer, place)
            draw = trainer.sampler.draw(number, trainer.s.meta_batch)
            gc.collect()
            process, wall = time.process_time(), time.perf_counter()
            trainer.run(draw)
            answer |= {
                "process": time.process_time() - process,
                "wall": time.perf_counter() - wall,
                "means": trainer.means(),
            }
            print(json.dumps(answer), flush=True)


def _module(name: str, earlier: str) -> Any:
    """A module where it lies, or where it lay until 329c0f9."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return importlib.import_module(earlier)


def _trainers(experiment: str, tasks: int, folder: str) -> dict[str, Any]:
    """A trainer of each method at its own steps, and how its bytes are counted."""
    import torch

    from bench import methods
    from bench.problem import stand_in_images
    from multistep.fewshot import measure

    dataset = "miniimagenet" if experiment.startswith("mini") else "omniglot"
    data = Path(folder) / dataset
    if not data.exists():
        shape = {"classes": 60} if dataset == "omniglot" else methods.SHAPES[dataset]
        methods.prepare(data, stand_in_images(**shape))
    prepared = _module("multistep.data.prepared", "multistep.datasets.prepared")
    read = prepared.load(data) if hasattr(prepared, "load") else prepared.read(data, dataset, None)
    images = torch.from_numpy(read.images)
    defined = methods.definition(experiment, dataset, 1, None)
    found = {}
    for method, entry in defined["methods"].items():
        settings = entry["settings"]
        size = min(tasks, settings["meta_batch"]) if tasks else None
        made = measure._trainer(entry, settings["inner_steps"], size, read, images)
        found[method] = (made, measure._memory)
    return found


class Learners(dict[str, tuple[Any, Callable[..., int]]]):
    """By method and scheme, made when first asked for, with the count of a mini-batch's bytes."""

    def __init__(self, experiment: str, images: int) -> None:
        super().__init__()
        self.experiment, self.images = experiment, images

    def __missing__(self, name: str) -> tuple[Any, Callable[..., int]]:
        from multistep.transfer.saved import saved_bytes

        def kept(batches: MiniBatches, _: Any) -> int:
            with saved_bytes() as peak:
                batches.run(None)
            return peak()

        method, scheme = name.split("/")
        made = self[name] = MiniBatches(self.experiment, method, scheme, self.images), kept
        return made


class MiniBatches:
    """A learner in a trainer's place: always the same mini-batch of noise."""

    def __init__(self, experiment: str, method: str, scheme: str, images: int) -> None:
        import torch

        from bench import transfer_problem as problem

        contender, here = problem.Contender(method, scheme), torch.device("cpu")
        settings = problem.settings(experiment, contender, images)
        source = problem.source_network(settings, here)
        self.learner = problem.learner(experiment, contender, source, here, images)
        self.given, self.lr = problem.images(settings, here), settings.lr
        self.sampler, self.s = self, SimpleNamespace(meta_batch=0)

    def draw(self, *_: int) -> None:
        """Nothing: the mini-batch is there."""

    def run(self, _: None) -> None:
        """One mini-batch."""
        self.report = self.learner.step(*self.given, self.lr)

    def means(self) -> dict[str, float]:
        """The outer loss, under the name of a trainer's."""
        return {"train_loss": float(self.report["meta_loss"])}


if __name__ == "__main__":
    main(*sys.argv[1:])
