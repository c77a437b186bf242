"""Meta-iterations of one build of the package, asked for line by line: `python worker.py ROOT
THREADS TASKS EXPERIMENT...`.

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
from pathlib import Path
from typing import Any


def main(root: str, threads: str, tasks: str, *experiments: str) -> None:
    """Serve until standard input ends."""
    sys.path[:0] = [root, f"{root}/src"]
    device = _module("multistep.job.device", "multistep.device")
    place = device.prepare("cpu", int(threads))
    with tempfile.TemporaryDirectory() as folder:
        trainers = {e: _trainers(e, int(tasks), Path(folder)) for e in experiments}
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


def _trainers(experiment: str, tasks: int, folder: Path) -> dict[str, Any]:
    """A trainer of each method at its own steps, and how its bytes are counted."""
    import torch

    from bench import methods
    from bench.problem import stand_in_images
    from multistep.fewshot import measure

    dataset = "miniimagenet" if experiment.startswith("mini") else "omniglot"
    data = folder / dataset
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


if __name__ == "__main__":
    main(*sys.argv[1:])
