"""The process that has the device: `python -m bench.minutes.worker DEVICE THREADS`.

First it says what it runs on; then each line on standard input names a step, "part step", and is
answered by one line of JSON. A step that fails answers with its error; one that leaves the device
unusable ends the process, and its asker begins another one.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.minutes.stage import SIZES, Result, Stage
from bench.problem import ROOT
from multistep.files import one_line

Steps = dict[str, dict[str, Callable[[Stage], Result]]]  # part → its steps by name


def steps() -> Steps:
    """All parts that run in a worker."""
    from bench.minutes import checks, rates

    return {
        "checks": checks.steps(),
        "rates": rates.meta_iterations(),
        "kernels": rates.kernels(),
        "peers": rates.peers(),
        "transfer": rates.mini_batches(),
    }


def run(step: Callable[[Stage], Result], stage: Stage) -> Result:
    """A step's result with its seconds; of one that fails its error, `fatal` if no other can be
    run in this process.
    """
    import torch

    begun, found = time.perf_counter(), None
    try:
        found = step(stage)
    except torch.AcceleratorError as error:
        found = {"error": f"{type(error).__name__}: {one_line(error)}", "fatal": True}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {one_line(error)}"}
    gc.collect()
    if stage.place.type == "cuda" and "fatal" not in found:
        torch.cuda.empty_cache()
    # JSON has no NaN.
    told = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()
    }
    return told | {"seconds": round(time.perf_counter() - begun, 3)}


def main(name: str, threads: str) -> None:
    """Serve until standard input ends."""
    import torch

    from multistep.job import device

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    place = device.prepare(name, int(threads))
    about = {
        "environment": device.environment(place, int(threads)),
        "identity": [*device.identity(place), str(torch.__version__), int(threads)],
    }
    print(json.dumps(about), file=answers, flush=True)
    known, stage = steps(), Stage(place, SIZES[name])
    for line in sys.stdin:
        part, step = line.split()
        found = run(known[part][step], stage)
        print(json.dumps(found), file=answers, flush=True)
        if found.get("fatal"):
            break


class Worker:
    """A worker, seen from its asker: the first `answer` is what it says of itself."""

    def __init__(self, name: str, threads: int) -> None:
        command = [sys.executable, "-m", "bench.minutes.worker", name, str(threads)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    def answer(self, deadline: float) -> Result:
        """The next line; `stopped` if it isn't there by then (`time.monotonic`)."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            if not waiting.select(max(0.0, deadline - time.monotonic())):
                self.close()
                return {"stopped": "by the clock"}
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            return {"error": f"its process ended with {self.process.returncode}", "fatal": True}
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, part: str, step: str, deadline: float) -> Result:
        """A step's result."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says how it ended
            print(part, step, file=self.process.stdin, flush=True)
        found = self.answer(deadline)
        if found.get("fatal"):
            self.close()
        return found

    @property
    def closed(self) -> bool:
        return self.process.poll() is not None

    def close(self) -> None:
        """End it, and with it its claim on the device."""
        self.process.kill()
        self.process.communicate()


if __name__ == "__main__":
    main(*sys.argv[1:])
