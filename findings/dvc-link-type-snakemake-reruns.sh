#!/usr/bin/env bash
# DVC 3.67.1 with Snakemake 9.27.1: whether Snakemake makes a page again after `dvc add` and after
# `dvc checkout` of the result that it rests on depends on DVC's cache.type and on the file's size.
#
# Behaviour: at 1 MB nothing reruns, whatever the link: Snakemake compares checksums of small files. At
# 3 MB the files' times decide. With `copy` a file keeps its time at `dvc add` and gets a new one at
# checkout: the page is made again then. With `symlink` the link is new after both: the page is made
# again after either. With `hardlink` file and cache share one time: it is made again after neither.
# The bytes are the same in every case.
#
# Seen (runs of the page planned after add, after checkout):
#   copy      1 MB: 0, 0    3 MB: 0, 1
#   hardlink  1 MB: 0, 0    3 MB: 0, 0
#   symlink   1 MB: 0, 0    3 MB: 1, 1
#
# Fails if one of these counts changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'dvc==3.67.1' 'snakemake==9.27.1' 2> "$dir/pip.log"
export PATH="$dir/env/bin:$PATH" DVC_NO_ANALYTICS=1 GIT_CONFIG_GLOBAL="$dir/gitconfig"
git config --global init.defaultBranch main
echo "dvc $(dvc --version), snakemake $(snakemake --version)"

planned() { # jobs that Snakemake would run for the page
  snakemake -n --cores 1 page.txt > log 2>&1 || { cat log >&2; exit 1; }
  grep -c '^rule page:' log || true
}
seen=
for link in copy hardlink symlink; do
  for bytes in 1000000 3000000; do
    mkdir "$dir/$link$bytes"; cd "$dir/$link$bytes"; git init -q; dvc init -q
    dvc config cache.type $link
    cat > Snakefile <<S
rule result:
    output: "results/parameters.bin"
    shell: "head -c $bytes /dev/zero > {output}"
rule page:
    input: "results/parameters.bin"
    output: "page.txt"
    shell: "wc -c < {input} > {output}"
S
    snakemake --cores 1 --quiet all -- page.txt > log 2>&1 || { cat log; exit 1; }
    [ "$(planned)" = 0 ]; sleep 1.1
    dvc add -q results; after_add=$(planned); sleep 1.1
    rm -rf results; dvc checkout -q; after_checkout=$(planned)
    echo "$link, $bytes bytes: $after_add after add, $after_checkout after checkout"
    seen="$seen $after_add$after_checkout"
  done
done
[ "$seen" = ' 00 01 00 00 00 11' ]
