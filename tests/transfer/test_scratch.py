"""The target network alone against torch's own optimiser and autograd."""

import copy

import torch
import transfer_reference as reference_
from torch.nn import functional as F

from multistep.transfer.algorithms.scratch import Scratch
from multistep.transfer.learner import Learner


def test_its_training_is_plain_training() -> None:
    source, target = reference_.networks(torch.float32)
    model = copy.deepcopy(target).train()
    settings = reference_.settings().model_dump(include={*Scratch.Settings.model_fields})
    algorithm = Scratch(Scratch.Settings.model_validate(settings))
    learner = Learner(source, target, algorithm, 0, torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1e-4)
    x, y = reference_.images(torch.float32)
    for _ in range(3):
        report = learner.step(x, y, learner.settings.lr)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x)[1], y)
        loss.backward()
        optimizer.step()
        assert set(report) == {"train_loss", "train_accuracy"}
        torch.testing.assert_close(report["train_loss"], loss.detach())
    model.eval()
    torch.testing.assert_close(learner.logits(x), model(x)[1].detach(), rtol=1e-4, atol=1e-5)
    assert not learner.theta
