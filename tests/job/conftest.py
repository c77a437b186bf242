"""A scale's folder that tests of this folder share: data, and trained cells."""

import json
from pathlib import Path

import pytest
from helpers import prepared_dataset, small_cell, train
from transfer_data import prepared_images, small_transfer, source_folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scale's folder with prepared data and a trained cell of each family."""
    home = tmp_path_factory.mktemp("home")
    prepared_dataset(home / "data/processed/omniglot")
    prepared_images(home / "data/processed/patterns")
    source_folder(home / "network")
    for method in ("multistep2", "reptile"):
        train(home, json.loads(small_cell(method).json))
    train(home, small_transfer(lr=0.2), "--network", str(home / "network"))
    return home
