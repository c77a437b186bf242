#!/usr/bin/env bash
# learn2learn 0.2.0 (its newest release; torch 2.15.0, torchvision 0.29.2, CPU): `get_tasksets("mini-imagenet",
# data_augmentation="lee2019")`, the images of its benchmark with MetaOptNet's augmentation.
#
# Behaviour: training and test tasks show the same picture in two ways, neither of them the one that is meant. Its
# dataset gives floats from 0 to 255. (1) The training transform hands them to torchvision's ToPILImage, which takes
# floats for numbers from 0 to 1, multiplies by 255 and keeps the lowest byte: x becomes (255 x) mod 256, which is
# 256 - x. So one trains on *negatives*. (2) The test transform (and that of validation) subtracts the mean and divides
# by the deviation of images from 0 to 1 without dividing by 255 first: values go up to 920. A network with batch norm
# in training mode hides the scale, not the negatives; with running statistics or without batch norm, tests are of
# other inputs altogether. Nothing warns. `data_augmentation="normalize"` shows both alike, divided by 255, and None,
# undivided. It is so with and without `device`. Its repository has the same lines in its last commit (July 2023);
# issue 376 there asks whether the test transform is one, and about images that look odd.
#
# Seen, a picture of grey 60 and one of grey 200: median of the first channel as a training task shows it (without the
# shift, flip and jitter of colours), and as a test task does; what Normalize would give
#   lee2019     train  1.07 -0.91   test  214.76  719.84   meant -0.85  1.13
#   normalize   train  0.24  0.78   test    0.24    0.78
#   None        train 60.00 200.00   test   60.00  200.00
#   correlation of a drawn picture with its test image 1.00, with its training image -1.00
#
# The archives aren't needed: stand-ins in their layout. learn2learn's C files can't be compiled (learn2learn-build.sh);
# Cython makes them anew here, so it needs gcc and Python's headers. Fails if one of these numbers changes.
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
cat > images.py <<'PY'
import pickle
import random
import sys
from pathlib import Path

import learn2learn
import numpy as np
import torch
from learn2learn.vision.benchmarks import get_tasksets
from torchvision.transforms import ColorJitter, Compose, RandomCrop, RandomHorizontalFlip

root = Path(sys.argv[1])
root.mkdir()
rng = np.random.default_rng(0)
pictures = np.stack([np.full((84, 84, 3), grey, np.uint8) for grey in (60, 60, 200, 200)]
                    + [rng.integers(1, 256, (84, 84, 3), np.uint8)])
for mode in ("train", "validation", "test"):
    content = {"image_data": pictures, "class_dict": {"a": [0, 1], "b": [2, 3], "c": [4]}}
    root.joinpath(f"mini-imagenet-cache-{mode}.pkl").write_bytes(pickle.dumps(content))


def plain(transform):
    """A transform without its steps by chance."""
    chance = (RandomCrop, ColorJitter, RandomHorizontalFlip)
    return transform and Compose([step for step in transform.transforms if not isinstance(step, chance)])


def shown(augmentation, device):
    """Each picture as tasks of the benchmark to train and to test on show it."""
    random.seed(0)
    benchmark = get_tasksets("mini-imagenet", train_ways=3, train_samples=1, test_ways=3, test_samples=1,
                             root=str(root), data_augmentation=augmentation, device=device)
    for tasks in (benchmark.train, benchmark.test):
        inner = tasks.dataset.dataset
        inner.transform = plain(inner.transform)
        yield torch.stack([tasks.dataset[i][0] for i in range(5)])


print("torch", torch.__version__, "learn2learn", learn2learn.__version__)
meant = [(grey - 120.39586422) / 70.68188272 for grey in (60, 200)]
negatives = [(256 - grey - 120.39586422) / 70.68188272 for grey in (60, 200)]
right = {"lee2019": [*negatives, 214.76, 719.84],
         "normalize": [60 / 255, 200 / 255] * 2, None: [60, 200] * 2}
for augmentation, expected in right.items():
    for device in (None, "cpu"):
        train, test = shown(augmentation, device)
        found = [image[0].median().item() for images in (train, test) for image in (images[0], images[2])]
        assert np.allclose(found, expected, atol=0.03), (augmentation, device, found)
    line = "  {:11} train {:5.2f} {:5.2f}   test {:7.2f} {:7.2f}".format(str(augmentation), *found)
    print(line + ("   meant {:5.2f} {:5.2f}".format(*meant) if augmentation == "lee2019" else ""))
train, test = shown("lee2019", None)
alike = [np.corrcoef(pictures[4, :, :, 0].ravel(), images[4][0].flatten())[0, 1] for images in (test, train)]
print("  correlation of a drawn picture with its test image {:.2f}, with its training image {:.2f}".format(*alike))
assert alike[0] > 0.999 and alike[1] < -0.999
PY
"$dir/env/bin/python" -W ignore images.py "$dir/data" 2> "$dir/errors" || { cat "$dir/errors"; exit 1; }
