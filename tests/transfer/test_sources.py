"""Source networks: the published weights, what is refused, and what comes back from a folder."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import torch
import torchvision
from data_sets import real_data
from PIL import Image

from multistep import seal, stats
from multistep.data.prepared import Prepared
from multistep.files import UserError, read_json, sha256, write_json
from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer import source_training, sources
from multistep.transfer.source_settings import Pretrain, SourceNetwork

RESNET32 = Architecture(name="resnet32", width=16)
RESNET34 = Architecture(name="resnet34", width=64)
TINY = Architecture(name="resnet32", width=4, blocks=1)
CHECKPOINT = "l2t_ww/resnet32_tinyimagenet_model_best.pth.tar"


def spec(architecture: Architecture = TINY, classes: int = 4, **more: Any) -> SourceNetwork:
    return SourceNetwork(title="Tiny", architecture=architecture, classes=classes, **more)


def tiny_imagenet(path: Path, count: int) -> Prepared:
    """Official validation images, evenly chosen; classes sorted by name."""
    root = "tiny-imagenet-200/"
    with zipfile.ZipFile(path) as archive:
        classes = sorted(archive.read(root + "wnids.txt").decode().split())
        listed = archive.read(root + "val/val_annotations.txt").decode().splitlines()
        rows = [line.split("\t")[:2] for line in listed[:: len(listed) // count]]
        pixels = []
        for name, _ in rows:
            with Image.open(io.BytesIO(archive.read(f"{root}val/images/{name}"))) as image:
                small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
                pixels.append(np.asarray(small))
    labels = np.array([classes.index(c) for _, c in rows])
    none, all_ = np.arange(0), np.arange(len(rows))
    splits = {"train": none, "validation": none, "test": all_}
    return Prepared("tinyimagenet", np.stack(pixels), labels, None, classes, splits, "")


def test_the_published_weights_classify_as_its_authors_noted() -> None:
    path = real_data(CHECKPOINT)
    state, facts = sources.load_published(path, "l2t_ww", RESNET32, 200)
    assert facts == {"epoch": 104, "best": 49.27, "test_prec": 49.15, "num_classes": 200}
    trained = [v for k, v in state.items() if not k.endswith(("_mean", "_var", "_tracked"))]
    assert sum(v.numel() for v in trained) == 479_272
    assert state["bn1.num_batches_tracked"] == 104 * 704
    images = tiny_imagenet(real_data("tinyimagenet/tiny-imagenet-200_x50.zip"), 1000)
    found = source_training.tested(spec(RESNET32, 200), state, images, torch.device("cpu"))
    assert found["test_images"] == 1000
    # 49.15 % of 10,000 images: of 1,000 of them 3 standard deviations are 4.7 points.
    assert abs(found["test_accuracy"] - 49.15) < 4.7
    low, high = found["test_interval95"]
    assert low < found["test_accuracy"] < high


@pytest.mark.parametrize(
    ("layout", "architecture", "classes", "message"),
    [
        ("l2t_ww", RESNET32, 100, r"with 100 classes: fc.weight is \[200, 64\], not \[100"),
        ("l2t_ww", RESNET34, 200, "not a resnet34 of width 64 with 200 classes: it lacks"),
        ("torchvision", RESNET32, 200, r"its first names: conv1.weight, .*or layout"),
    ],
)
def test_another_network_or_number_of_classes_is_one_line(
    layout: str, architecture: Architecture, classes: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sources.load_published(real_data(CHECKPOINT), layout, architecture, classes)


def test_the_names_of_l2t_ww_cover_a_network_of_any_depth(tmp_path: Path) -> None:
    """As its code names them: blocks 1, 3, 5 open the stages, blocks2, 4, 6 hold the rest."""
    architecture = Architecture(name="resnet32", width=4, blocks=3)
    network = build(architecture, 4, torch.Generator().manual_seed(1))
    theirs = {}
    for key, value in network.state_dict().items():
        if key.startswith("stages."):
            stage, block, rest = (int(p) if p.isdecimal() else p for p in key.split(".", 3)[1:])
            name = f"block{2 * stage + 1}" if block == 0 else f"blocks{2 * stage + 2}.{block - 1}"
            key = f"{name}.{rest}"
        theirs[f"module.{key}"] = value
    torch.save({"state_dict": theirs, "epoch": 3}, tmp_path / "a.pth.tar")
    state, facts = sources.load_published(tmp_path / "a.pth.tar", "l2t_ww", architecture, 4)
    assert facts == {"epoch": 3}
    own = network.state_dict()
    assert list(state) == list(own)
    assert all(torch.equal(state[k], own[k]) for k in own)


def test_torchvision_s_own_network_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    state = {k: v for k, v in theirs.state_dict().items() if "tracked" not in k}  # as old files
    torch.save(state, tmp_path / "r.pth")
    architecture = Architecture(name="resnet18", width=64)
    loaded, facts = sources.load_published(tmp_path / "r.pth", "torchvision", architecture, 7)
    assert facts == {}
    network = build(architecture, 7, None).eval()
    network.load_state_dict(loaded)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[1], theirs(x))


class Harm:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return Path.mkdir, ("harm",)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "can't be read as weights"),
        (b"", "can't be read as weights"),
        ({"a": torch.ones(1), "b": "text"}, "holds no state dict"),
        ([torch.ones(1)], "holds no state dict"),
        ({"state_dict": Harm()}, "can't be read as weights"),
        (None, "no such file"),
    ],
)
def test_what_are_no_weights_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as caught:
        sources.load_published(path, "torchvision", TINY, 4)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


TRAIN = Pretrain(
    size=32, augmentation="pad_crop", batch_size=8, epochs=2, lr=0.1, momentum=0.9,
    weight_decay=0.0, lr_steps=[1], seed=0,
)  # fmt: skip


def saved(folder: Path, seed: int = 0, trained: bool = False) -> dict[str, torch.Tensor]:
    """A network as published and scored, or as trained in two epochs."""
    state = build(TINY, 4, torch.Generator().manual_seed(seed)).state_dict()
    metrics: dict[str, Any] = {"test_accuracy": 25.0, "test_images": 4}
    metrics |= {"test_interval95": list(stats.wilson(1, 4))}
    history: list[dict[str, Any]] = []
    if trained:
        history = [
            {"epoch": e, "lr": lr, "train_loss": 1.0, "train_accuracy": 50.0,
             "validation_accuracy": 50.0 + e}
            for e, lr in ((0, 0.1), (1, 0.01))
        ]  # fmt: skip
        metrics |= {"best_epoch": 1, "validation_accuracy": 51.0, "epochs": 2}
        metrics |= {"train_images": 8, "train_seconds": 1.0}
    else:
        metrics["published"] = {"epoch": 3}
    made = {"metrics": metrics, "history": history, "environment": records.ENVIRONMENT}
    made_from = {**records.MADE_FROM, "network": None if trained else "f" * 64}
    settings = spec(dataset="pets", train=TRAIN) if trained else spec(dataset="pets")
    sources.save(folder, "tiny", settings, state, made, made_from)
    return state


def test_a_folder_opens_frozen_and_with_what_was_saved(tmp_path: Path) -> None:
    state = saved(tmp_path / "a")
    network, digest = sources.open_network(tmp_path / "a")
    about = read_json(tmp_path / "a" / "network.json")
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert digest == sha256(tmp_path / "a" / "weights.pt") == about["digest"]
    assert about["settings"]["title"] == "Tiny"
    assert about["metrics"]["test_images"] == 4
    saved(tmp_path / "b")
    assert sources.open_network(tmp_path / "b")[1] == digest  # the same bytes wherever they lie
    saved(tmp_path / "c", seed=1)
    assert sources.open_network(tmp_path / "c")[1] != digest


# What nothing but the seal guards, and why.
FREE = {
    "name": "the plan compares it with the folder's",
    "settings.title": "a name for readers",
    "settings.dataset": "the plan compares it",
    "settings.train.*": "the plan compares it",
    "metrics.published.*": "as its authors noted",
    "metrics.train_images": "counted from the dataset, whose digest is kept",
    "metrics.train_seconds": "measured",
    "history.*.train_loss": "measured",
    "history.*.train_accuracy": "measured; within 0 to 100",
    "history.*.validation_accuracy": "measured; that of the best epoch is compared",
    "environment.*": "where it was made",
    "made_from.dataset": "the plan compares it with the dataset that is there",
    "made_from.network": "the plan compares it with the archive",
    "made_from.code": "which code made it; the workflow compares it",
}


@pytest.mark.fault("a field of network.json edited", "refused by its reader")
def test_every_field_of_a_description_is_guarded_or_free(
    tmp_path: Path, record_property: Any
) -> None:
    edits = records.Edits(FREE)
    for name in ("published", "trained"):
        folder = tmp_path / name
        saved(folder, trained=name == "trained")
        edits.refused(folder / "network.json", lambda folder=folder: sources.open_network(folder))
    record_property("injected", edits.done())
    about = {**read_json(tmp_path / "trained/network.json"), "new": 1}
    write_json(tmp_path / "trained/network.json", seal.seal(about, about["made_from"]))
    with pytest.raises(UserError, match="not the description of a source network"):
        sources.open_network(tmp_path / "trained")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "weights.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bytes differ from the digest in network\.json; delete"):
        sources.open_network(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"weights\.pt: no such file"):
        sources.open_network(tmp_path)
