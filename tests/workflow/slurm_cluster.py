"""A Slurm cluster of two nodes that lives in a folder: for tests, on this machine alone.

Its daemons run as the user who starts them, with ports of their own, a private munged where there
is one, and a device for each node that is no GPU; no accounting, as on many small clusters.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Debian's daemons lie where only root's PATH looks.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
DAEMONS = ("slurmctld", "slurmd")
# By node its "GPU", which has to be a device file.
NODES = {"n1": "/dev/null", "n2": "/dev/zero"}


def missing() -> str | None:
    """Why no cluster can be started here; None if one can."""
    absent = [name for name in (*DAEMONS, "sbatch", "srun", "squeue") if shutil.which(name) is None]
    there = "(Debian: slurmctld slurmd slurm-client)"
    return f"no {', '.join(absent)} here {there}" if absent else None


class Cluster:
    """A running cluster: partitions `cpu` (the default), `gpu`, `harsh` and, over both, `urgent`.

    A job of `urgent` takes the place of others, which are cancelled: those of `gpu` a while after
    they were told.
    """

    def __init__(self, folder: Path, cpus: int = 8, memory: int = 128000, min_job_age: int = 600):
        self.folder, self.log = folder, folder / "daemons.log"
        self.conf = folder / "slurm.conf"
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir(parents=True, mode=0o700)
        self.munged = shutil.which("munged")
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        controller, *ports = _free_ports(1 + len(NODES))
        kind = "munge" if self.munged else "none"
        self.conf.write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/{kind}
{f"AuthInfo=socket={folder}/munge.socket" if self.munged else ""}
CredType=cred/{kind}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
MinJobAge={min_job_age}
KillWait=20
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={",".join(NODES)} NodeHostname={host} NodeAddr=127.0.0.1 Port={",".join(map(str, ports))} CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1-0 State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-0 PriorityTier=1 GraceTime=20 State=UP
PartitionName=harsh Nodes=ALL MaxTime=1-0 PriorityTier=1 GraceTime=0 State=UP
PartitionName=urgent Nodes=ALL MaxTime=1-0 PriorityTier=9 PreemptMode=OFF State=UP
""")  # noqa: E501
        gres = "\n".join(f"NodeName={name} Name=gpu File={file}" for name, file in NODES.items())
        (folder / "gres.conf").write_text(f"{gres}\n")
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Start the daemons; AssertionError, with their logs, if no node is up in a while."""
        if self.munged:
            key = self.folder / "munge/key"
            key.write_bytes(os.urandom(128))
            key.chmod(0o400)
            self.folder.chmod(0o755)  # munged's socket has to be in a folder that all may enter
            self._daemon(
                self.munged, "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
                f"--seed-file={self.folder}/munge/seed",
            )  # fmt: skip
        self._daemon("slurmctld", "-f", str(self.conf))
        for node in NODES:
            self._daemon("slurmd", "-f", str(self.conf), "-N", node)
        self._until_idle(*NODES)

    def die(self, node: str) -> None:
        """What a node's death is to Slurm: all of its processes are gone, and it is down."""
        pid = int((self.folder / f"slurmd.{node}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        for job in self("squeue", "-h", "-w", node, "-o", "%i").split():
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    command = (process / "cmdline").read_bytes()
                    its = f"SLURM_JOB_ID={job}".encode() in (
                        process / "environ"
                    ).read_bytes().split(b"\0")
                    if its or command.startswith(f"slurmstepd: [{job}.".encode()):
                        os.kill(int(process.name), signal.SIGKILL)
        self("scontrol", "update", f"nodename={node}", "state=down", "reason=died")

    def revive(self, node: str) -> None:
        """Bring it back, by its word alone (ReturnToService)."""
        self._daemon("slurmd", "-f", str(self.conf), "-N", node)
        self._until_idle(node)

    def _until_idle(self, *nodes: str) -> None:
        deadline = time.monotonic() + 30
        idle = ("sinfo", "-h", "-N", "-p", "cpu", "-t", "idle", "-o", "%N")
        while not set(nodes) <= set(self(*idle, check=False).split()):
            logs = [file.read_text()[-2000:] for file in self.folder.glob("*.log")]
            assert time.monotonic() < deadline, "\n".join(logs)
            time.sleep(0.1)

    def _daemon(self, *command: str) -> None:
        # None of what they inherit may be ours: who reads the tests' output would wait for them.
        with self.log.open("a") as log:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=30,
                env=self.environment,
            )  # fmt: skip

    def stop(self) -> None:
        """Cancel what runs, then end the daemons: SIGTERM, and SIGKILL for who doesn't go."""
        with suppress(subprocess.TimeoutExpired):
            self("scancel", f"--user={getpass.getuser()}", check=False)
        pids = [
            int(file.read_text()) for file in self.folder.glob("*.pid") if file.read_text().strip()
        ]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in filter(_alive, pids):
                os.kill(pid, number)
            deadline = time.monotonic() + 5
            while any(map(_alive, pids)) and time.monotonic() < deadline:
                time.sleep(0.05)

    def __call__(self, *command: str, check: bool = True) -> str:
        """What a command of Slurm prints. Without a controller it would block for long."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=20, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()


@contextmanager
def running(folder: Path, **options: int) -> Iterator[Cluster]:
    """A cluster in a folder, stopped afterwards whatever happens."""
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
