#!/usr/bin/env bash
# learn2learn 0.2.0 (its newest release, a source archive) on Python 3.11 and later.
#
# Behaviour: it can't be installed. The archive ships C files that an old Cython wrote
# (learn2learn/data/meta_dataset.c), which include CPython's longintrepr.h; that header left the
# include folder with Python 3.11. Cython in the build environment does not help, since the C files
# are compiled as they are.
#
# Seen (Python 3.11.7, gcc 12.2):
#   learn2learn/data/meta_dataset.c:210:12: fatal error: longintrepr.h: No such file or directory
#
# Fails if the installation succeeds or stops for another reason. Needs gcc and Python's headers.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -c 'import sys; print("python", sys.version.split()[0]); sys.exit(sys.version_info < (3, 11))'
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'cython<3' 'setuptools<80' wheel numpy 2> /dev/null
if "$dir/env/bin/pip" install --disable-pip-version-check --no-deps --no-build-isolation \
     'learn2learn==0.2.0' > "$dir/log" 2>&1; then echo 'installed'; exit 1; fi
grep -m 1 -o 'learn2learn/data/meta_dataset.c:.*longintrepr.h: No such file or directory' "$dir/log"
