#!/usr/bin/env bash
# easyfsl 1.5.0 (its newest release): the labels that TaskSampler gives the classes of a task, and
# whether it runs with torch 2.15.0.
#
# Behaviour: (1) It can't be made: it hands its base class an argument, `data_source`, that torch's Sampler
# has no more. (2) With that argument let through, classes are drawn at random, but numbered in the
# order of Python's set of their ids, not of the draw: small integers come out by their remainder
# by 32. So class 0 is nearly always label 0, and who knows the class alone, without one support
# image, labels half of a 5-way task rightly instead of a fifth. Prototypes don't mind; a learner with
# a head of fixed outputs (MAML, ANIL) can learn its training classes by heart instead of adapting.
#
# Seen, 5-way tasks, 3,000 of them, labels guessed from the class alone (chance is 0.20):
#   TaskSampler: TypeError: object.__init__() takes exactly one argument
#   20 classes 0.55, 64 classes 0.52, 100 classes 0.52; labels of a task shuffled: 0.23 (64 classes)
#
# Fails if it can be made, or if a share moves by more than 0.03.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'torch==2.15.0' 'torchvision==0.29.2' \
  'easyfsl==1.5.0' 2> "$dir/pip.log" || { cat "$dir/pip.log"; exit 1; }
cat > "$dir/labels.py" <<'PY'
import random
from collections import Counter, defaultdict

import torch
from easyfsl.samplers import TaskSampler
from torch.utils.data import DataLoader, Dataset, Sampler


class Classes(Dataset):
    """20 items a class; an item is the id of its class."""

    def __init__(self, classes):
        self.labels = [label for label in range(classes) for _ in range(20)]

    def get_labels(self):
        return self.labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, item):
        return torch.tensor([float(self.labels[item])]), self.labels[item]


def tasks(classes, number):
    data = Classes(classes)
    sampler = TaskSampler(data, n_way=5, n_shot=1, n_query=1, n_tasks=number)
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    for support, labels, *_ in loader:
        yield support.flatten().int().tolist(), labels.tolist()


def guessed(pairs):
    """Share of labels that the class's most frequent one says rightly."""
    labels = defaultdict(Counter)
    for classes, given in pairs:
        for one, label in zip(classes, given):
            labels[one][label] += 1
    return sum(c.most_common(1)[0][1] for c in labels.values()) / sum(sum(c.values()) for c in labels.values())


try:
    next(tasks(20, 1))
except TypeError as error:
    assert "takes exactly one argument" in str(error), error
    print("  TaskSampler: TypeError:", str(error).split(" (")[0])
else:
    raise SystemExit("TaskSampler can be made")
Sampler.__init__ = lambda self, data_source=None: None  # as torch had it
random.seed(0)
shares = {classes: guessed(tasks(classes, 3000)) for classes in (20, 64, 100)}
fair = guessed((classes, random.sample(range(5), 5)) for classes, _ in tasks(64, 3000))
print("  " + ", ".join(f"{n} classes {share:.2f}" for n, share in shares.items())
      + f"; labels of a task shuffled: {fair:.2f} (64 classes)")
for share, seen in ((shares[20], 0.55), (shares[64], 0.52), (shares[100], 0.52), (fair, 0.23)):
    assert abs(share - seen) < 0.03, (share, seen)
PY
"$dir/env/bin/python" -W ignore "$dir/labels.py" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
