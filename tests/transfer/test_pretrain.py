"""Pretraining: it learns, a killed run ends with the same weights, mistakes are one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transfer_data import equal_size, settings, written

from multistep import cli
from multistep.data import prepared
from multistep.files import UserError, read_json, sha256
from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer import source_training, sources
from multistep.transfer.source_record import stepped_rate
from multistep.transfer.source_settings import SourceNetwork

CPU = torch.device("cpu")
TINY = Architecture(name="resnet32", width=4, blocks=1)
SHORT = Architecture(name="resnet18", width=2, blocks=1)


def spec(train: dict[str, Any] | None = None, **more: Any) -> SourceNetwork:
    values = {"title": "Pictures", "architecture": TINY, "classes": 4, **more}
    return SourceNetwork(train=None if train is None else settings(**train), **values)


def arguments(folder: Path, network: SourceNetwork, *more: str) -> list[str]:
    options = ["--data", str(folder / "data"), "--out", str(folder / "out"), *more]
    options += ["--checkpoint", str(folder / "scratch" / "n.pt")]
    line = ["pretrain", "--name", "n", "--spec", network.model_dump_json(), "--device", "cpu"]
    return [*line, *options]


def test_it_learns_and_records_it(tmp_path: Path) -> None:
    written(tmp_path / "data", equal_size(240, test=40))
    assert cli.main(arguments(tmp_path, spec({}))) == 0
    about = read_json(tmp_path / "out" / "network.json")
    assert about["made_from"]["network"] is None
    assert about["name"] == "n"
    history, metrics = about["history"], about["metrics"]
    assert [e["epoch"] for e in history] == [0, 1, 2, 3]
    assert [e["lr"] for e in history] == [0.05, 0.05, 0.005, 0.005]
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    accuracies = [e["validation_accuracy"] for e in history]
    assert metrics["validation_accuracy"] == max(accuracies)
    assert metrics["best_epoch"] == accuracies.index(max(accuracies))
    assert metrics["test_accuracy"] > 60  # 25 is chance
    assert metrics["test_images"] == 40
    assert metrics["train_images"] == 160
    assert metrics["test_interval95"][0] < metrics["test_accuracy"] <= metrics["test_interval95"][1]
    assert about["made_from"]["dataset"] == prepared.read(tmp_path / "data").digest
    network, _ = sources.open_network(tmp_path / "out")
    assert network.tap_channels == {0: 4, 1: 8, 2: 16}


def test_published_weights_are_taken_and_scored(tmp_path: Path) -> None:
    written(tmp_path / "data", equal_size(40, test=20))
    state = build(TINY, 4, torch.Generator().manual_seed(3)).state_dict()
    torch.save(state, tmp_path / "given.pth")
    given = ["--published", str(tmp_path / "given.pth")]
    assert cli.main(arguments(tmp_path, spec({}, layout="torchvision"), *given)) == 0
    network, _ = sources.open_network(tmp_path / "out")
    about = read_json(tmp_path / "out" / "network.json")
    assert about["made_from"]["network"] == sha256(tmp_path / "given.pth")
    assert about["metrics"]["test_images"] == 20
    assert about["history"] == []
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    # Without settings of a training, small squares are taken as they are.
    score = about["metrics"]["test_accuracy"]
    assert cli.main(arguments(tmp_path, spec(layout="torchvision"), *given)) == 0
    assert read_json(tmp_path / "out" / "network.json")["metrics"]["test_accuracy"] == score
    # Without a dataset it isn't scored.
    line = arguments(tmp_path, spec(layout="torchvision"), *given)
    del line[line.index("--data") : line.index("--data") + 2]
    assert cli.main(line) == 0
    assert "test_accuracy" not in read_json(tmp_path / "out" / "network.json")["metrics"]


def test_published_weights_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (given := tmp_path / "out/weights.pt").write_bytes(b"mine")
    line = arguments(tmp_path, spec(layout="torchvision"), "--published", str(given))
    assert cli.main(line) == 2
    assert "the weights that are read lie there; name another folder" in capsys.readouterr().err
    assert given.read_bytes() == b"mine"


def test_another_network_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (about := tmp_path / "out/network.json").write_text('{"name": "m"}')
    line = arguments(tmp_path, spec(layout="torchvision"), "--published", "x.pth")
    del line[line.index("--data") : line.index("--data") + 2]
    assert cli.main(line) == 2
    told = f"error: {about}: in the way, of 'm', not 'n'; move it away, or name another place\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        (spec(), [], "n: nothing to make it from"),
        (spec({}, classes=5), [], "4 classes, but the source network n has 5"),
        (spec(), ["--published", "x.pth"], "but no layout"),
        (spec(layout="l2t_ww"), ["--published", "x.pth"], "x.pth: no such file"),
        (spec({"size": 32}), [], "pad_crop takes images of 32x32, but its images are 16x16"),
        (spec({"lr": 1e30}), [], "set a smaller train.lr"),
        (spec({"batch_size": 19}, architecture=SHORT), [], "19 leaves one of 20 training images"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, network: SourceNetwork, more: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    written(tmp_path / "data", equal_size(60, test=20))
    assert cli.main(arguments(tmp_path, network, *more)) == 2
    said = capsys.readouterr().err
    error = said[said.index("error: ") :]
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_missing_is_found_before_training() -> None:
    with pytest.raises(UserError, match="has no validation images"):
        source_training.Training("n", spec({}), equal_size(40), CPU)


def test_settings_that_are_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    for text, said in {"{": "not valid JSON", '{"title": "x"}': "classes: Field required"}.items():
        assert cli.main(["pretrain", "--name", "n", "--spec", text]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: --spec: ")
        assert said in line


def test_the_rate_is_a_tenth_after_each_step() -> None:
    rates = [stepped_rate(0.1, [91, 137, 160], epoch) for epoch in (0, 90, 91, 136, 137, 160)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-4])
