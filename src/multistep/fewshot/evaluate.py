"""Accuracy over episodes: adapt from θ on each support set, classify its queries."""

import torch

from multistep import stats
from multistep.fewshot import meta
from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.settings import FewShot


def episode_accuracies(
    algorithm: Algorithm, network: BatchedConv4, theta: meta.Theta, sampler: Sampler, *,
    episodes: int, window: int | None = None,
) -> tuple[list[float], int]:  # fmt: skip
    """Accuracy in percent of each of `episodes` episodes, in order, and how many aren't finite.

    Adaptation takes `test_steps` steps with the dynamics of training (`window` of the settings
    unless given).
    """
    s = algorithm.settings
    window = window or s.window
    accuracies: list[float] = []
    non_finite = 0
    for batch in sampler.numbered(episodes, at_once(network, s, sampler.images.device)):
        accuracy, finite = meta.query_accuracy(algorithm, network, theta, batch, window=window)
        accuracies += (100 * accuracy.double()).tolist()
        non_finite += int((~finite).sum())
    return accuracies, non_finite


def at_once(network: BatchedConv4, s: FewShot, device: torch.device) -> int:
    """Episodes that adapt together; on a GPU, where training takes all tasks, as many as it holds
    with ease.
    """
    many = 2**30 // meta.map_bytes(network, s.ways * (s.shots + s.queries))
    return meta.chunk_size(network, s, device) or min(100, max(1, many))


def summary(accuracies: list[float]) -> dict[str, float]:
    """Mean and half-width of the 95% interval, in percent, as results carry them."""
    interval = stats.over_episodes(accuracies)
    return {"test_accuracy": interval.mean, "test_ci95": interval.half_width}
