"""DVC remotes (folder, SSH, HTTP, S3): what is pushed comes back; damage is told."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import workspace

OUTS = ("data/raw", "data/processed", "data/networks", "results")


class Folder:
    """The objects of a remote in a folder, which a test may damage; `lines` for .dvc/config."""

    def __init__(self, folder: Path, **lines: object) -> None:
        self.folder, self.lines = folder, {"url": folder, **lines}

    def read(self, oid: str) -> bytes:
        return self._path(oid).read_bytes()

    def write(self, oid: str, content: bytes | None) -> None:
        path = self._path(oid)
        path.unlink()  # DVC's own are read-only
        if content is not None:
            path.write_bytes(content)

    def _path(self, oid: str) -> Path:
        return self.folder / "files/md5" / oid[:2] / oid[2:]


class Bucket:
    """The same of an S3 server."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.lines = {"url": "s3://remote/store", "endpointurl": url}
        self.lines |= {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}

    def read(self, oid: str) -> bytes:
        return bytes(self.client.get_object(Bucket="remote", Key=self._key(oid))["Body"].read())

    def write(self, oid: str, content: bytes | None) -> None:
        if content is None:
            self.client.delete_object(Bucket="remote", Key=self._key(oid))
        else:
            self.client.put_object(Bucket="remote", Key=self._key(oid), Body=content)

    def _key(self, oid: str) -> str:
        return f"store/files/md5/{oid[:2]}/{oid[2:]}"


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "remote")


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Folder]:
    """A server of our own on loopback, with keys of its own, for as long as the test runs."""
    pytest.importorskip("dvc_ssh", reason="dvc-ssh is not installed")
    daemon = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if daemon is None:
        pytest.skip("no sshd here (Debian: openssh-server)")
    home = tmp_path / "ssh"
    home.mkdir()
    for key in ("host", "own"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)]
        subprocess.run(make, check=True)
    shutil.copy(home / "own.pub", home / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": home / "host",
        "AuthorizedKeysFile": home / "authorized_keys", "PidFile": "none",
        "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no", "UsePAM": "no",
        "PermitRootLogin": "prohibit-password", "StrictModes": "no", "MaxSessions": 100,
        "MaxStartups": 100, "Subsystem": "sftp internal-sftp",
    }  # fmt: skip
    (home / "config").write_text("\n".join(f"{key} {value}" for key, value in options.items()))
    Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its rights
    command = [daemon, "-D", "-f", str(home / "config"), "-E", str(home / "log")]
    (home / "log").touch()
    server = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while "Server listening" not in (said := (home / "log").read_text()):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"sshd doesn't run here: {said[-200:]}")
            time.sleep(0.05)
        folder = tmp_path / "remote"
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        url = f"ssh://{user}@127.0.0.1:{port}{folder}"
        remote = Folder(folder, keyfile=home / "own")
        remote.lines["url"] = url
        yield remote
    finally:
        server.terminate()
        server.wait()


class Plain(SimpleHTTPRequestHandler):
    """Files of a folder over HTTP, which takes new ones too."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        size = self.headers["Content-Length"]  # else in pieces, each after its size
        if size is not None:
            path.write_bytes(self.rfile.read(int(size)))
        else:
            with open(path, "wb") as file:
                while count := int(self.rfile.readline(), 16):
                    file.write(self.rfile.read(count))
                    self.rfile.readline()
            self.rfile.readline()
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Folder]:
    folder = tmp_path / "remote"
    handler = functools.partial(Plain, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        remote = Folder(folder, method="PUT")
        remote.lines["url"] = f"http://127.0.0.1:{server.server_port}"
        yield remote
        server.shutdown()


@pytest.fixture
def s3() -> Iterator[Bucket]:
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    server_of = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="remote")
    yield Bucket(client, url)
    client.close()
    server.stop()


def files(folder: Path) -> dict[str, bytes]:
    """By path, all that a project has in DVC."""
    found = (path for out in OUTS for path in (folder / out).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.fault(
    "objects of a DVC remote flipped, cut, deleted (local, SSH, HTTP, S3)",
    "`dvc pull` refuses, `multistep verify --remote` names them, `--remove` and `dvc push` mend",
)
@pytest.mark.parametrize("kind", ["local", "ssh", "http", "s3"])
def test_what_is_pushed_comes_back_and_damage_is_named(
    project: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest, record_property: Any
) -> None:
    remote = request.getfixturevalue(kind)
    # Elsewhere without the many files of provenance; over HTTP all of a commit is looked for.
    outs = () if kind in ("local", "http") else OUTS
    lines = ["['remote \"store\"']", "verify = true"]
    lines += [
        *(f"{key} = {value}" for key, value in remote.lines.items()),
        "[core]\nremote = store",
    ]
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("[core]", "\n".join(lines)))
    workspace.dvc(project, "push", *outs)
    workspace.git(project, "commit", "-q", "-a", "-m", "remote")
    right, clone = files(project), tmp_path / "clone"
    workspace.git(tmp_path, "clone", "-q", str(project), str(clone))
    assert not files(clone)
    names = [name for name in sorted(right) if name.endswith((".npy", ".safetensors"))][:3]
    oids = [hashlib.md5(right[name]).hexdigest() for name in names]
    whole = remote.read(oids[0])
    remote.write(oids[0], whole[:-1] + bytes([whole[-1] ^ 1]))
    remote.write(oids[1], remote.read(oids[1])[:-9])
    remote.write(oids[2], None)
    assert "ERROR: failed to pull" in workspace.dvc(clone, "pull", *outs, status=1)
    taken = files(clone)
    assert all(content == right[name] for name, content in taken.items())  # no damaged byte
    assert not taken.keys() & set(names)
    told = multistep(project, "verify", "--remote", "store", status=2)
    assert "3 objects of" in told
    for oid, name, what in zip(oids, names, ["differ", "differ", "missing"], strict=True):
        assert [x for x in told.splitlines() if oid in x and name in x and what in x], told
    told = multistep(project, "verify", "--remote", "--remove", status=2)
    if kind == "http":
        assert "delete on its server" in told
        for oid in re.findall(r"/files/md5/(\w\w/[\w.]+)", told.splitlines()[-1]):
            remote.write(oid.replace("/", ""), None)
    workspace.dvc(project, "push", *outs)
    workspace.dvc(clone, "pull", *outs)
    assert files(clone) == right
    assert all(any(name.startswith(out) for name in right) for out in OUTS)
    record_property("injected", 3)
    if kind != "local":
        return
    assert "all are whole" in multistep(clone, "verify", "--remote")
    assert "all are as they were written" in multistep(clone, "verify")
    assert workspace.pending(clone) == {}
    assert "up to date" in workspace.dvc(clone, "status")
    # The provenance came along, so that a later edit reruns exactly what it affects.
    workspace.append(clone, "fewshot/algorithms/first_order.py")
    expected = {"train_cell": 2, "measure_methods": 1, "table": 2, "figure": 3}
    assert workspace.pending(clone) == expected


def multistep(folder: Path, *arguments: str, status: int = 0) -> str:
    return workspace.run(folder, "multistep", *arguments, status=status)
