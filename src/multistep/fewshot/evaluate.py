"""Accuracy over episodes: adapt from θ on each support set, classify its queries."""

from __future__ import annotations

from multistep import stats
from multistep.fewshot import meta
from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import BatchedConv4
from multistep.fewshot.episodes import Sampler, join


def episode_accuracies(
    algorithm: Algorithm, network: BatchedConv4, theta: meta.Theta, sampler: Sampler, *,
    episodes: int, window: int | None = None,
) -> tuple[list[float], int]:  # fmt: skip
    """Accuracy in percent of each of `episodes` episodes, in order, and how many aren't finite.

    Adaptation takes `test_steps` steps with the dynamics of training (`window` of the settings
    unless given). Each episode is drawn by its own number, so more episodes begin with the same.
    """
    s = algorithm.settings
    window = window or s.window
    # On a GPU, where training takes all tasks, as many as it holds with ease.
    images = s.ways * (s.shots + s.queries)
    many = min(100, max(1, 2**30 // meta.map_bytes(network, images)))
    size = meta.chunk_size(network, s, sampler.images.device) or many
    accuracies: list[float] = []
    non_finite = 0
    for start in range(0, episodes, size):
        draws = [sampler.draw(number, 1) for number in range(start, min(start + size, episodes))]
        batch = sampler.gather(join(draws).to(sampler.images.device))
        accuracy, finite = meta.query_accuracy(algorithm, network, theta, batch, window=window)
        accuracies += (100 * accuracy.double()).tolist()
        non_finite += int((~finite).sum())
    return accuracies, non_finite


def summary(accuracies: list[float]) -> dict[str, float]:
    """Mean and half-width of the 95% interval, in percent, as results carry them."""
    interval = stats.over_episodes(accuracies)
    return {"test_accuracy": interval.mean, "test_ci95": interval.half_width}
