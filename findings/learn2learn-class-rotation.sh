#!/usr/bin/env bash
# learn2learn 0.2.0 (its newest release; torch 2.15.0, CPU): `RandomClassRotation`, with which its Omniglot benchmark
# makes new classes out of turned characters, in training, validation and test.
#
# Behaviour: it draws an angle for each class of a task, and turns *every* image of the task by the one that was
# drawn last: each image gets a lambda that names the loop's variable, and all of them run after the loop. So a
# 5-way task has 4 variants instead of 4^5 = 1,024: all its characters are upright, on their side or on their head
# together, and a character never stands beside one that is turned otherwise. MAML's code, whose protocol this is,
# turns each class by its own angle "to create new classes" (data_generator.py). Shapes, labels and the angles drawn
# are right, so that nothing shows, but accuracies are those of other tasks.
#
# Seen, 2,000 5-way tasks by the benchmark's transforms, 2 images a class:
#   angles in a task: drawn 3.04, applied 1.00; of one angle: drawn 0.5 %, applied 100.0 %
#
# The archive's C files can't be compiled (learn2learn-build.sh); Cython makes them anew here, so it needs gcc and
# Python's headers. Fails if a task has two angles.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" 'torch==2.15.0' 'torchvision==0.29.2' 'gym==0.26.2' 'cython==3.3.1' \
  'setuptools<80' wheel numpy scipy requests tqdm
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary learn2learn --dest "$dir/archive" \
  'learn2learn==0.2.0' 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
tar -xzf "$dir/archive/learn2learn-0.2.0.tar.gz" -C "$dir"
cd "$dir/learn2learn-0.2.0"; rm learn2learn/data/*.c
CFLAGS=-O0 "$dir/env/bin/cythonize" --inplace --quiet learn2learn/data/*.pyx > "$dir/errors" 2>&1 || { cat "$dir/errors"; exit 1; }
cat > rotation.py <<'PY'
import random

import learn2learn
import torch
from learn2learn.data import MetaDataset, Taskset
from learn2learn.data.transforms import ConsecutiveLabels, FusedNWaysKShots, LoadData, RemapLabels
from learn2learn.vision.transforms import RandomClassRotation
from torchvision.transforms import RandomRotation



class Characters(torch.utils.data.Dataset):
    """50 characters of 4 images, all alike; the corner with the mark tells by what angle one is turned."""

    image = torch.zeros(1, 5, 5)
    image[0, 0, 0] = 1

    def __len__(self):
        return 200

    def __getitem__(self, item):
        return self.image, item // 4


random.seed(0)
drawn = []
angle_of = RandomRotation.__init__


def kept(self, degrees, *more, **named):
    drawn.append(degrees[0])
    angle_of(self, degrees, *more, **named)


RandomRotation.__init__ = kept
corners = {(0, 0): 0.0, (4, 0): 90.0, (4, 4): 180.0, (0, 4): 270.0}
characters = MetaDataset(Characters())
# as omniglot_tasksets has them
transforms = [
    FusedNWaysKShots(characters, n=5, k=2),
    LoadData(characters),
    RemapLabels(characters),
    ConsecutiveLabels(characters),
    RandomClassRotation(characters, [0.0, 90.0, 180.0, 270.0]),
]
tasks = Taskset(characters, transforms)
asked, applied, last = [], [], 0
for _ in range(2000):
    drawn.clear()
    images, labels = tasks.sample()
    assert len(drawn) == 5 and sorted(labels.tolist()) == sorted([*range(5)] * 2)
    angles = [corners[tuple(image[0].nonzero()[0].tolist())] for image in images]
    asked.append(len(set(drawn)))
    applied.append(len(set(angles)))
    last += set(angles) == {drawn[-1]}
mean = lambda counts: sum(counts) / len(counts)
print("torch", torch.__version__, "learn2learn", learn2learn.__version__)
print(f"  angles in a task: drawn {mean(asked):.2f}, applied {mean(applied):.2f}; of one angle: drawn "
      f"{100 * asked.count(1) / 2000:.1f} %, applied {100 * applied.count(1) / 2000:.1f} %")
assert abs(mean(asked) - 3.05) < 0.1 and set(applied) == {1} and last == 2000
PY
"$dir/env/bin/python" -W ignore rotation.py 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
