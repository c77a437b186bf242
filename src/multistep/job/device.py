"""The machine: which device a job gets, how it is made deterministic, and the record of it."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from multistep import lock
from multistep.files import UserError
from multistep.progress import say

FAILED = "MULTISTEP_FAILED_GPUS"  # to the process that this one becomes
_held: list[IO[str]] = []  # open lock files: a slot is ours until the process ends


def prepare(device: str, threads: int) -> torch.device:
    """Claim the device, fix threads and numerics; to be called once, before any tensor is made.

    float32 matrix products stay float32 (no TF32): the paper's V100 had none, and second-order
    meta-gradients lose 3 to 40% of their norm to it.
    """
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    _keep_freed_memory()
    if device == "cpu":
        return torch.device("cpu")
    if device != "cuda":
        raise UserError(f"device must be cuda or cpu, got {device!r}")
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    others = _claim_gpu()
    try:
        if not torch.cuda.is_available():
            raise UserError(
                "device: cuda is set, but torch sees no CUDA device; run where one is, or set "
                "`device: cpu` in the scale's overlay"
            )
        torch.zeros(1, device="cuda").item()
    except (UserError, RuntimeError) as error:
        # Without a driver there is no GPU that could fail: whoever counts some rehearses (how
        # several users share a machine, say), and has the one that was claimed.
        if "no NVIDIA driver" not in str(error):
            if not others:
                raise error if isinstance(error, UserError) else failed(error) from None
            _leave_gpu(listed, error)
    return torch.device("cuda")


def identity(device: torch.device) -> list[Any]:
    """What decides the bits of float arithmetic here: the GPU and its libraries, or the processor
    and the instructions that torch uses of it, and whether loops are compiled for it.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return [name, torch.version.cuda, torch.backends.cudnn.version()]
    compiler = find_spec("llvmlite") is not None
    return ["cpu", _cpu_name(), torch.backends.cpu.get_cpu_capability(), compiler]


def environment(device: torch.device, threads: int) -> dict[str, Any]:
    """What a result needs for being traced: versions, device, commit. To be asked for as a
    job begins: in hours of work the checkout may become another commit's.
    """
    cuda = device.type == "cuda"
    commit, dirty = _git()
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "cpu": _cpu_name(),
        "threads": threads,
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32),
        "platform": platform.platform(),
        "commit": commit,
        "dirty": dirty,
    }


def peak_bytes(device: torch.device) -> int:
    """Peak allocated bytes on a GPU; peak resident bytes of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long `work` takes: by events on a GPU, in process time on a CPU."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    begin = time.process_time()
    work()
    return time.process_time() - begin


def allocated(device: torch.device, work: Callable[[], object]) -> int:
    """The most bytes that `work` allocates on a GPU at one time, beside what is held before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    work()
    return peak_bytes(device) - held


def told(error: BaseException) -> UserError | None:
    """What is said of a GPU that is too small, or fails; None for what is neither."""
    if isinstance(error, torch.OutOfMemoryError):
        reason = str(error).partition(". ")[0]
        return UserError(
            f"{reason}; set scheme: replay, which keeps one window's activations at a time, or let "
            "fewer jobs share the GPU, or take smaller batches"
        )
    if isinstance(error, torch.AcceleratorError) and "assert" not in str(error):
        return failed(error)
    return None  # an assertion is a mistake of this program


def failed(error: Exception) -> UserError:
    """What is said of a GPU that fails, and names it."""
    name, node = os.environ.get("CUDA_VISIBLE_DEVICES", "0"), platform.node()
    why = str(error).partition("\n")[0]
    return UserError(
        f"GPU {name} of {node} fails ({why}); leave it out with CUDA_VISIBLE_DEVICES, or the node "
        f"with `slurm_extra: --exclude={node}`, and run again: cells go on where they were"
    )


def _leave_gpu(listed: str | None, error: Exception) -> None:
    """Begin this process anew without the GPU that it has: CUDA starts once in a process."""
    name = os.environ.pop("CUDA_VISIBLE_DEVICES")
    why = str(error).partition("\n")[0]
    say(f"GPU {name} of {platform.node()} fails ({why}); it is left, another one is tried")
    before = os.environ.get(FAILED)
    os.environ[FAILED] = f"{before},{name}" if before else name
    if listed is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = listed
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _claim_gpu() -> bool:
    """Give this process a GPU of its own by setting CUDA_VISIBLE_DEVICES; whether there are others.

    Snakemake counts GPUs of one run but doesn't number them, so jobs of all users and runs lock one
    file per GPU: of all, or of those that the variable lists; where none is free they wait, saying
    so. MULTISTEP_CELLS_PER_GPU jobs share one (1 unless set). Slurm's choice is left alone, and so
    is a single one that is listed.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        names = [str(number) for number in range(torch.cuda.device_count())]
    else:
        # By the text alone: asking torch may start CUDA, which reads the variable once.
        entries = (entry.strip() for entry in listed.split(","))
        names = list(takewhile(lambda name: name and not name.startswith("-"), entries))
        if len(names) < 2 or "SLURM_JOB_ID" in os.environ:
            return False
    gpus = [name for name in names if name not in os.environ.get(FAILED, "").split(",")]
    if names and not gpus:
        raise UserError(f"every GPU of {platform.node()} fails: {', '.join(names)}; run elsewhere")
    share = os.environ.get("MULTISTEP_CELLS_PER_GPU", "1")
    if not share.isdecimal() or int(share) < 1:
        raise UserError(f"MULTISTEP_CELLS_PER_GPU is {share!r}; give a number of cells, such as 2")
    folder = Path(tempfile.gettempdir()) / "multistep-gpus"
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)  # as the folder around it: for everybody, nobody removes another's
    slot = claim_slot(folder, gpus, int(share))
    if gpus and slot is None:
        say(f"all {len(gpus)} GPUs are taken by other runs or users (locks in {folder}); waiting")
        while slot is None:
            time.sleep(1)
            slot = claim_slot(folder, gpus, int(share))
    if slot is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot
    return len(gpus) > 1


def claim_slot(folder: Path, slots: Sequence[str], share: int = 1) -> str | None:
    """The first of `slots` whose lock file in `folder` is free; None if none is. With `share` it is
    one that fewer than so many hold, all of which share; of the others each has its own.

    The lock lasts until the process ends, however it ends.
    """
    for turn in range(share):
        for slot in slots:
            # A part of a GPU may have slashes in its name: MIG-GPU-<id>/<instance>/<instance>.
            name = slot.replace("/", "_")
            held = [_hold(folder / name, shared=share > 1)]
            if held[0] and share > 1:
                held.append(_hold(folder / f"{name}+{turn}"))
            if all(held):
                _held.extend(file for file in held if file)
                return slot
            for file in filter(None, held):
                file.close()
    return None


def _hold(path: Path, *, shared: bool = False) -> IO[str] | None:
    try:  # another user's file can be locked, but not made again where everybody may write
        file = open(path)  # noqa: SIM115 (open until the end)
    except FileNotFoundError:
        path.touch(0o644)
        file = open(path)  # noqa: SIM115
    try:
        lock.acquire(file, "it is another cell's", wait=False, shared=shared)
    except UserError:
        file.close()
        return None
    return file


def _keep_freed_memory() -> None:
    """Ask glibc to reuse large freed blocks instead of returning them to the system.

    Temporaries of a few MB are made and freed all the time; fresh pages for each cost 10 to 20%.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and sys.platform == "linux":
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, at its maximum of 32 MB
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        mallopt(-8, 1)  # M_ARENA_MAX: what one thread has freed is there for all


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git() -> tuple[str | None, bool | None]:
    """Commit of the code and whether the package differs from it; None and a word where git has
    none, or is another project's that it lies in (an unpacked archive, an environment).

    Also in a clone that another user owns: git is told for these calls that it may be read.
    """
    file = Path(__file__).resolve()
    here = file.parents[1]  # the package
    checkout = next((str(folder) for folder in here.parents if (folder / ".git").exists()), here)

    def git(*arguments: str) -> str:
        command = ["git", "-c", f"safe.directory={checkout}", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "--", str(file)):
            say(f"results record no commit of the code: git in {checkout} doesn't have it")
            return None, None
        changes = git("status", "--porcelain", "--untracked-files=normal", "--", ".")
        return git("rev-parse", "HEAD"), bool(changes)
    except (OSError, subprocess.CalledProcessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[0]
        say(f"results record no commit of the code: {told}")
        return None, None
