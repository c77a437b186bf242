"""Downloads from the server of tests/data/conftest.py, and what they leave."""

import re

from multistep.data.download import fetch
from multistep.data.resume import Patience
from multistep.data.settings import Archive

QUICK = Patience(attempts=3, connect_timeout=5, read_timeout=2, backoff=0.02)


def get(server, destination, *kinds, **entry):
    """From these mirrors; by the digest of what is right unless the entry says another, or none."""
    entry = entry or {"sha256": server.sha256}
    archive = Archive(urls=[server.url(kind) for kind in kinds], **entry)
    return fetch(archive, destination, dataset="shapes", patience=QUICK)


def assert_arrived(server, destination):
    assert destination.read_bytes() == server.body
    assert_alone(destination)


def assert_alone(destination):
    """With its record, and nothing else left in the folder."""
    names = [path.name for path in destination.parent.iterdir()]
    pattern = rf"{destination.name}@[0-9a-f]{{12}}\.json"
    assert [name for name in names if not re.fullmatch(pattern, name)] == [destination.name]
    assert len(names) == 2
