"""Trained parameters adapted to images of a user's own: `load`."""

import inspect
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import multistep
from multistep.data import prepared
from multistep.fewshot import meta
from multistep.files import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_three_lines_adapt_to_images_of_one_s_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of `load`'s docstring, which the README has too."""
    text = inspect.getdoc(multistep.load) or ""
    code = textwrap.dedent("\n".join(x for x in text.splitlines() if x.startswith("    ")))
    assert len(code.splitlines()) == 3
    images = prepared.read(home / "data/processed/omniglot").images
    rows = [1140, 840, 1180]  # three characters that training never saw, of 20 images each
    own = np.concatenate([images[row : row + 3] for row in rows])
    others = np.concatenate([images[row + 3 : row + 20] for row in rows])
    names = [name for name in ("aleph", "beth", "gimel") for _ in range(17)]
    code = code.replace("results/5way_1shot/", f"{home}/results/e/").replace("/maml/", "/reptile/")
    values = {"multistep": multistep, "images": own, "labels": names[14:20] + names[-3:]}
    values["labels"] = [name for name in ("aleph", "beth", "gimel") for _ in range(3)]
    exec(code, values | {"others": others}, out := {})
    classify = out["classify"]
    assert str(classify(others)) in capsys.readouterr().out
    right = np.mean([a == b for a, b in zip(classify(others), names, strict=True)])
    assert right > 0.8
    assert np.mean([classify(x[None])[0] for x in others] == np.array(classify(others))) == 1
    floats = torch.from_numpy(others / 255).unsqueeze(1)
    assert classify(floats, together=True) == classify(others, together=True)
    for module in (classify.module, out["learner"].module):
        assert isinstance(module, torch.nn.Module)
        assert module(floats.float()).shape == (51, 5)
    wrong = {
        r"images of \[51, 20, 28\] \(uint8\)": others[:, :20],
        r"\(int64\)": others.astype(int),
    }
    wrong |= {"numbers from 0 to 25": 255 * floats, "numbers from nan": floats * torch.nan}
    masks = (others > 127).astype(np.uint8)
    wrong |= {r"all but black \(masks": masks, "divided by 255 twice": floats / 255}
    wrong |= {"no images": ["a.png"], r"no images \(.*inhomogeneous": [others[0], others[0][:5]]}
    for message, images in wrong.items():
        with pytest.raises(UserError, match=rf"{message}.*give bytes \[N, 28, 28\], or numbers in"):
            classify(images)
    drawn = [Image.fromarray(x) for x in others]
    assert classify(drawn) == classify(others)
    for mode in ("P", "1", "RGB"):  # the first's bytes are places in a palette
        with pytest.raises(UserError, match=rf"^images of mode {mode}; give image.convert\('L'\)"):
            classify([image.convert(mode) for image in drawn])
    with pytest.raises(UserError, match="8 labels of 3 classes for 9 images"):
        out["learner"].adapt(own, values["labels"][1:])
    for labels in ([[name] for name in values["labels"]], torch.eye(9), 3):
        with pytest.raises(UserError, match="labels: give a list with one label for each image"):
            out["learner"].adapt(own, labels)
    others.flags.writeable = False  # as of a file that is mapped; torch would warn
    classify(others)
    for place in ("", ".", home):
        with pytest.raises(UserError, match=": a folder; name a result"):
            multistep.load(place)
    numbers = torch.tensor([values["labels"].index(name) for name in values["labels"]])
    assert set(out["learner"].adapt(own, numbers)(others)) <= {0, 3, 6}
    for paper in (255 - others // 4, 1 - floats / 4):
        with pytest.raises(UserError, match="mostly white, but it was trained on white on black"):
            classify(paper)
    assert classify(np.zeros_like(others))  # blank ones are no mistake
    for setting, value in {"window": 2, "momentum": 0.5, "weight_decay": 0.5}.items():
        with pytest.raises(UserError, match=f"{setting}: must be . for reptile, whose inner steps"):
            multistep.load(home / "results/e/omniglot/reptile/0.json", **{setting: value})
    for setting in ("steps", "ways", "inner_steps"):  # what would do nothing, or can't be
        with pytest.raises(UserError, match=f"no setting '{setting}' that adapting takes; it"):
            multistep.load(home / "results/e/omniglot/reptile/0.json", **{setting: 3})
    path = home / "results/e/omniglot/multistep2/0.json"
    with pytest.raises(UserError, match=r"0\.json: settings\.test_steps: Input should be greater"):
        multistep.load(path, test_steps=0)  # without an option of a command line
    with pytest.raises(UserError, match="adapting diverged"):
        multistep.load(path, inner_lr=1e38, weight_decay=0.1).adapt(own, values["labels"])


def test_images_and_labels_as_people_have_them(home: Path) -> None:
    learner = multistep.load(home / "results/e/omniglot/multistep2/0.json")
    images = prepared.read(home / "data/processed/omniglot").images[[0, 20, 1, 21]]
    floats, names = (images[:, None] / 255).astype("f4"), [0, 1, 0, 1]
    right = learner.adapt(images, names).logits(floats)
    flipped = floats[..., ::-1].copy()[..., ::-1]
    for given in (flipped, floats.astype(">f4"), torch.tensor(floats, requires_grad=True)):
        assert torch.equal(learner.adapt(given, names).logits(given), right)
    assert learner.adapt(torch.tensor(floats).bfloat16(), names).classes == [0, 1]
    for labels in (iter(names), [torch.tensor(n) for n in names], [*map(np.float64, names)]):
        found = learner.adapt(floats, labels)
        assert found.classes == [0, 1]
        assert torch.equal(found.logits(floats), right)
    for unordered in ({0, 1, 2, 3}, dict.fromkeys(range(4))):
        with pytest.raises(UserError, match="labels: give a list with one label for each image"):
            learner.adapt(floats, unordered)
    for none in (None, np.nan):
        with pytest.raises(UserError, match=f"labels: {none} is none; leave out what has no label"):
            learner.adapt(floats, [0, 1, 0, none])


def test_what_torch_makes_by_default_does_not_matter(home: Path) -> None:
    path = home / "results/e/omniglot/multistep2/0.json"
    images = prepared.read(home / "data/processed/omniglot").images[[0, 20, 1, 21]]

    def logits() -> torch.Tensor:
        learner = multistep.load(path)
        return learner.adapt(images, [0, 1, 0, 1]).logits(images)

    right = logits()
    with torch.device("meta"):
        assert torch.equal(logits(), right)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(logits(), right)
        finally:
            torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):  # in 16 bits adapting would diverge
        found = multistep.load(path).adapt(images, [0, 1, 0, 1])
    assert torch.equal(found.logits(images), right)


def test_nor_for_the_network_of_meta_transfer(home: Path) -> None:
    """Else it is on no device, or in 16 bits, which its parameters are rounded to."""
    path = home / "results/e/patterns/bilevel/0.json"
    right = multistep.load(path).module.state_dict()

    def same() -> bool:
        found = multistep.load(path).module.state_dict()
        return all(torch.equal(found[name], p) for name, p in right.items())

    with torch.device("meta"):
        assert same()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert same()
    finally:
        torch.set_default_dtype(torch.float32)


def test_threads_that_adapt_at_once_leave_autocast_as_each_had_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who is done first has the other's from then on, and products in 16 bits."""
    learner = multistep.load(home / "results/e/omniglot/multistep2/0.json")
    images = prepared.read(home / "data/processed/omniglot").images[[0, 20, 1, 21]]
    right = learner.adapt(images, [0, 1, 0, 1]).logits(images)
    inside = {False: threading.Event(), True: threading.Event()}
    done, adapt = threading.Event(), meta.adapt
    found: dict[bool, tuple[bool, torch.Tensor]] = {}

    def among_others(*given: Any, **how: Any) -> torch.Tensor:
        own = threading.current_thread().name == "True"
        inside[own].set()
        assert (done if own else inside[True]).wait(60)
        return adapt(*given, **how)

    def use(autocast: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = learner.adapt(images, [0, 1, 0, 1]).logits(images)
            found[autocast] = torch.is_autocast_enabled("cpu"), logits
        done.set()

    monkeypatch.setattr(meta, "adapt", among_others)
    threads = [threading.Thread(target=use, args=(a,), name=str(a)) for a in (False, True)]
    for thread, entered in zip(threads, (False, True), strict=True):
        thread.start()
        assert inside[entered].wait(60)
    for thread in threads:
        thread.join()
    assert {autocast: enabled for autocast, (enabled, _) in found.items()} == {
        False: False, True: True,
    }  # fmt: skip
    assert torch.equal(found[False][1], right)


def test_an_adapted_network_classifies_where_it_was_moved_to(home: Path) -> None:
    """The learner's own network isn't what adapts."""
    learner = multistep.load(home / "results/e/omniglot/multistep2/0.json")
    images = prepared.read(home / "data/processed/omniglot").images[[0, 20, 1, 21]]
    classify = learner.adapt(images, [0, 1, 0, 1])
    right = classify.logits(images)
    classify.module.double()
    assert torch.allclose(found := classify.logits(images), right.double(), atol=1e-4)
    assert found.dtype == torch.float64
    learner.module.to("meta")
    assert torch.equal(learner.adapt(images, [0, 1, 0, 1]).logits(images), right)


def test_of_meta_transfer_the_target_network_is_loaded(home: Path) -> None:
    found = multistep.load(home / "results/e/patterns/bilevel/0.json")
    taps, logits = found.module(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 4)
    assert not found.module.training
    assert set(found.matching) == {f"match.{n}.{k}" for n in (0, 2, 4) for k in ("weight", "bias")}
    assert set(taps) == set(found.module.tap_channels)
    assert found.meta


def test_committed_parameters_are_of_use() -> None:
    """By today's code: few-shot learners tell patterns apart that they never saw, a network of
    meta-transfer has an output for each class.
    """
    files = list(ROOT.glob("scales/*-long/results/**/0.safetensors"))
    assert len(files) >= 14
    rng = np.random.default_rng(0)
    for file in files:
        learner = multistep.load(file)
        if learner.cell["family"] == "transfer":
            with torch.inference_mode():
                _, logits = learner.module(torch.rand(2, 3, 32, 32))
            assert logits.shape == (2, 120)
            continue
        config = learner.network.config
        side = config.size // 4
        patterns = rng.random((5, config.channels, side, side)).round().repeat(4, 2).repeat(4, 3)
        images = 0.7 * patterns.repeat(4, 0) + 0.3 * rng.random((20, *patterns.shape[1:]))
        labels = np.repeat(range(5), 4)
        classify = learner.adapt(images[::4], labels[::4])
        assert np.mean(classify(images) == labels) > 0.7  # chance: 0.2
