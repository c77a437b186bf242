"""The record of a source network, checked on write and on read."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from multistep import seal, stats
from multistep.files import UserError, read_json, sha256
from multistep.job.record import Count, Digest, Facts, Percent, Positive, Record, Sealed
from multistep.transfer.source_settings import SourceNetwork

WEIGHTS, DESCRIPTION = "weights.pt", "network.json"
AGAIN = "delete the folder and build it again"


class SourceEpoch(Record):
    """An epoch of a source network's training; accuracies in percent."""

    epoch: Count
    lr: Positive
    train_loss: float
    train_accuracy: Percent
    validation_accuracy: Percent


class SourceMetrics(Record):
    """Of a trained network's kept epoch, or of a published one: its file and what that says; and
    the accuracy on the test part with its 95% interval, in percent, where there is a dataset.
    """

    best_epoch: Count | None = None
    epochs: int | None = None
    train_images: int | None = None
    validation_accuracy: Percent | None = None
    train_seconds: Positive | None = None
    published: dict[str, Any] | None = None
    test_accuracy: Percent | None = None
    test_interval95: Annotated[tuple[Percent, Percent], Field(strict=False)] | None = None
    test_images: int | None = Field(default=None, ge=1)


class Network(Sealed):
    """network.json; `digest`: SHA-256 of the weights. `made_from.network`: of the file that was
    published, if the network wasn't trained here.
    """

    schema_: Literal[2] = Field(alias="schema")
    name: str
    digest: Digest
    settings: SourceNetwork
    metrics: SourceMetrics
    history: list[SourceEpoch]

    def facts(self) -> Facts:
        """The kept epoch is the history's best, the interval that of the accuracy."""
        m, history, train = self.metrics, self.history, self.settings.train
        yield "made_from.choice", self.made_from.choice, None
        trained = self.made_from.network is None
        yield "metrics.published", m.published is None, trained
        if not trained or train is None:
            yield "history: entries", len(history), 0
        else:
            yield "history: epoch", [e.epoch for e in history], list(range(train.epochs))
            rates = [stepped_rate(train.lr, train.lr_steps, e.epoch) for e in history]
            yield "history: lr", [e.lr for e in history], rates
            best = max(history, key=lambda entry: entry.validation_accuracy)
            yield "metrics.epochs", m.epochs, train.epochs
            yield "metrics.best_epoch", m.best_epoch, best.epoch
            yield "metrics.validation_accuracy", m.validation_accuracy, best.validation_accuracy
        tested = m.test_accuracy is not None
        yield "metrics.test_accuracy", tested, self.made_from.dataset is not None
        yield "metrics.test_images", m.test_images is not None, tested
        if m.test_accuracy is not None and m.test_images is not None:
            correct = round(m.test_accuracy * m.test_images / 100)
            yield "metrics.test_accuracy", m.test_accuracy, 100 * correct / m.test_images
            interval = stats.wilson(correct, m.test_images)
            yield "metrics.test_interval95", m.test_interval95, interval


def describe(folder: Path) -> tuple[Network, dict[str, Any]]:
    """A network's description, typed and as it stands in its file, without a look at the weights.

    Raises UserError, one line, for what isn't as it was written.
    """
    path = folder / DESCRIPTION
    about = read_json(path)
    seal.check(path, about, AGAIN)
    try:
        return Network.model_validate(about), about
    except (ValidationError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
        raise UserError(
            f"{path}: not the description of a source network ({what}); {AGAIN}"
        ) from None


def read(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The same, of weights that are there and have the digest."""
    found, about = describe(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; {AGAIN}")
    if sha256(weights) != found.digest:
        raise UserError(f"{weights}: its bytes differ from the digest in {DESCRIPTION}; {AGAIN}")
    return found, about


def stepped_rate(lr: float, steps: list[int], epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: a tenth after each of `steps` epochs."""
    return lr / 10 ** sum(epoch >= step for step in steps)
