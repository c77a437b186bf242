"""Episodes: uniform, disjoint, rotated per class, and a pure function of their number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multistep.fewshot.episodes import Sampler, join, rotate
from multistep.files import UserError


def sampler(**changes: object) -> Sampler:
    """30 classes × 20 images whose four pixels encode class, image, and which way is up."""
    images = torch.zeros(30, 20, 2, 2, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(30, dtype=torch.uint8).unsqueeze(1)
    images[:, :, 0, 1] = torch.arange(20, dtype=torch.uint8)
    images[:, :, 1, 0] = 255
    options = {"ways": 5, "shots": 1, "queries": 15, "rotate": False, "seed": 0, "stream": "train"}
    return Sampler(images, **{**options, **changes})  # type: ignore[arg-type]


def test_an_episode_has_distinct_classes_and_images() -> None:
    s = sampler(shots=2, queries=3)
    batch = s.batch(7, 50)
    assert batch.support_images.shape == (50, 10, 1, 2, 2)
    assert batch.query_images.shape == (50, 15, 1, 2, 2)
    assert batch.support_labels[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert batch.query_labels[0].tolist() == [c for c in range(5) for _ in range(3)]
    support = (batch.support_images * 255).round().long()[:, :, 0, 0]  # [tasks, images, 2]
    query = (batch.query_images * 255).round().long()[:, :, 0, 0]
    for task in range(50):
        classes = support[task, ::2, 0].tolist()
        assert len(set(classes)) == 5
        seen = [tuple(p) for p in support[task].tolist() + query[task].tolist()]
        assert len(set(seen)) == 25  # no image twice, none in both sets
        for label in range(5):
            rows = [support[task, 2 * label + i, 0].item() for i in range(2)]
            rows += [query[task, 3 * label + i, 0].item() for i in range(3)]
            assert set(rows) == {classes[label]}


def test_draws_are_uniform_and_labels_carry_no_information() -> None:
    draw = sampler().draw(0, 6000)
    counts = np.bincount(draw.classes.flatten().numpy(), minlength=30)
    assert abs(counts - 1000).max() < 5 * 1000**0.5
    first = np.bincount(draw.classes[:, 0].numpy(), minlength=30)
    assert abs(first - 200).max() < 5 * 200**0.5
    support = np.bincount(draw.images[:, :, 0].flatten().numpy(), minlength=20)
    assert abs(support - 1500).max() < 5 * 1500**0.5


def test_a_draw_depends_on_seed_stream_and_iteration_alone() -> None:
    def key(s: Sampler, iteration: int) -> list[int]:
        return s.draw(iteration, 4).images.flatten().tolist()

    base = key(sampler(), 3)
    assert key(sampler(), 3) == base  # whatever was drawn before
    assert key(sampler(), 4) != base
    assert key(sampler(seed=1), 3) != base
    assert key(sampler(stream="test"), 3) != base
    assert key(sampler(stream="validation"), 3) != key(sampler(stream="test"), 3)


def test_joined_draws_are_the_same_episodes() -> None:
    s = sampler()
    joined = join([s.draw(i, 1) for i in range(3)])
    for i in range(3):
        assert torch.equal(joined.images[i : i + 1], s.draw(i, 1).images)


def test_one_rotation_per_class_and_episode() -> None:
    batch = sampler(rotate=True, shots=5, queries=5).batch(0, 200)
    both = torch.cat(
        [batch.support_images.view(200, 5, 5, 4), batch.query_images.view(200, 5, 5, 4)], 2
    )
    corner = both.argmax(3)  # where the bright pixel went
    assert (corner == corner[:, :, :1]).all()
    share = np.bincount(corner[:, :, 0].flatten().numpy(), minlength=4) / 1000
    assert abs(share - 0.25).max() < 0.07


def test_rotate_is_quarter_turns() -> None:
    x = torch.arange(9).view(1, 1, 1, 3, 3).expand(1, 4, 1, 3, 3)
    turned = rotate(x, torch.tensor([[0, 1, 2, 3]]))
    for k in range(4):
        assert torch.equal(turned[0, k, 0], torch.rot90(x[0, 0, 0], k))


def test_too_few_classes_or_images_are_named() -> None:
    with pytest.raises(
        UserError, match="40-way episodes need 40 classes, but the train split has 30"
    ):
        sampler(ways=40)
    with pytest.raises(UserError, match=r"6 shots \+ 15 queries exceed the 20 images"):
        sampler(shots=6)
