#!/usr/bin/env bash
# learn2learn 0.2.0 (its newest release; torch 2.15.0, torchvision 0.29.2, CPU): `get_tasksets("omniglot")`, its
# Omniglot benchmark, on which its MAML example trains and tests.
#
# Behaviour: training, validation and test tasks are drawn from *all* 1,623 characters. The three datasets are filtered
# to 1,100, 100 and 423 characters that nobody shares, and say so if asked for their labels. But the first transform,
# which draws a task's classes, was made of the unfiltered dataset and knows of no filter. So two of three characters
# that are tested were trained, with the same drawings, validation can't tell when to stop, and an accuracy is that of
# known characters, not of new ones. Nothing warns. Transforms made of the filtered datasets keep to them, as in its
# other benchmarks. Until pull request 253 (September 2021) the transform was told the characters. Its repository has
# the same lines in its last commit (July 2023); in its issues we found no word of it.
#
# Seen, 1,000 5-way 2-shot tasks each on drawn stand-ins, whose pixels say which of the 1,623 characters they are:
#   tasks        characters of the dataset   drawn   images of characters to train on
#   train                             1100    1558    0.68
#   validation                         100    1548    0.69
#   test                               423    1553    0.69
#   test, transform of its dataset     423     423    0.00
#
# The archives aren't needed, so torchvision's look at their digests is left out. learn2learn's C files can't be
# compiled (learn2learn-build.sh); Cython makes them anew here, so it needs gcc and Python's headers. Fails if the
# benchmark's tasks keep to their datasets, or the last ones don't.
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
CFLAGS=-O0 "$dir/env/bin/cythonize" --inplace --quiet learn2learn/data/*.pyx > "$dir/errors" 2>&1 \
  || { cat "$dir/errors"; exit 1; }
cat > splits.py <<'PY'
import random
import sys
from pathlib import Path

import learn2learn
import numpy as np
import torch
from learn2learn.data import Taskset
from learn2learn.data.transforms import ConsecutiveLabels, FusedNWaysKShots, LoadData, RemapLabels
from learn2learn.vision.benchmarks import get_tasksets
from PIL import Image
from torchvision import datasets

root, bits = Path(sys.argv[1]), torch.arange(11)
number = 0
for part, characters in (("images_background", 964), ("images_evaluation", 659)):
    for character in range(characters):
        folder = root / "omniglot-py" / part / f"alphabet{character // 40:02}" / f"character{character % 40:02}"
        folder.mkdir(parents=True)
        rows = np.array([number >> bit & 1 for bit in bits.tolist()] + [0] * 3, np.uint8) * 255
        picture = Image.fromarray(np.tile(rows.repeat(2)[:, None], 28))
        for drawing in range(2):
            picture.save(folder / f"{drawing}.png")
        number += 1
datasets.Omniglot._check_integrity = lambda self: True
random.seed(0)
benchmark = get_tasksets("omniglot", train_ways=5, train_samples=2, test_ways=5, test_samples=2, root=str(root))
trained, everything = set(benchmark.train.dataset.labels), benchmark.train.dataset.dataset
read = lambda images: ((images[:, 0, ::2, 0][:, :11] < 0.5).long() << bits).sum(1).tolist()  # white is 0 here
label_of = {}  # of a number in pixels; torchvision numbers characters in the order of its listing
for label, (first, *_) in everything.labels_to_indices.items():
    label_of[read(everything[first][0][None])[0]] = label
assert sorted(label_of) == sorted(label_of.values()) == [*range(1623)]


def drawn(tasks):
    """The characters of 1,000 tasks' images."""
    found = []
    for _ in range(1000):
        images, labels = tasks.sample()
        assert sorted(labels.tolist()) == sorted([*range(5)] * 2)
        found += [label_of[number] for number in read(images)]
    return found


def upright(tasks):
    """The benchmark's tasks without the last transform, which turns images."""
    assert type(tasks.task_transforms[-1]).__name__ == "RandomClassRotation"
    return Taskset(tasks.dataset, tasks.task_transforms[:-1])


test = benchmark.test.dataset
own = [FusedNWaysKShots(test, n=5, k=2), LoadData(test), RemapLabels(test), ConsecutiveLabels(test)]
rows = {name: upright(getattr(benchmark, name)) for name in ("train", "validation", "test")}
print("torch", torch.__version__, "learn2learn", learn2learn.__version__)
print("  tasks        characters of the dataset   drawn   images of characters to train on")
for name, tasks in {**rows, "test, transform of its dataset": Taskset(test, own)}.items():
    allowed, found = set(tasks.dataset.labels), drawn(tasks)
    share = sum(character in trained for character in found) / len(found)
    print(f"  {name:30} {len(allowed):7} {len(set(found)):7}    {share:.2f}")
    assert name == "train" or not allowed & trained
    if name in rows:
        assert len(set(found)) > 1500 and abs(share - 1100 / 1623) < 0.03, (name, share)
    else:
        assert set(found) <= allowed and share == 0, (name, share)
PY
"$dir/env/bin/python" -W ignore splits.py "$dir/data" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
