#!/usr/bin/env bash
# DVC 3.67.1 with Snakemake 9.27.1: a directory that a Snakemake rule has made (`output: directory(...)`), tracked by
# DVC, as an input of a job, and `dvc checkout` of another version of it.
#
# Behaviour: Snakemake leaves an empty `.snakemake_timestamp` in such a directory, and from then on the time of that
# file alone is the directory's age. `dvc add` takes it along like data. It is empty in every version, so `dvc
# checkout`, which `dvc pull` ends with, writes all images anew and leaves it as it was: to Snakemake the directory
# hasn't changed, nothing is to be done, and pages keep the numbers of the old images. So it is whatever the link,
# in every clone, since the file travels, and with its name in `.dvcignore`. The same directory without that file is
# seen, and so are its images as inputs.
#
# Seen, after `git checkout` and `dvc checkout` of the second version: image, page, and what `snakemake -n` plans:
#   directory(), copy                 second  first  nothing
#   directory(), hardlink             second  first  nothing
#   directory(), symlink              second  first  nothing
#   directory(), images as inputs     second  first  page
#   directory without the file        second  first  page
#   directory(), in .dvcignore        second  first  nothing
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install --quiet --disable-pip-version-check 'dvc==3.67.1' 'snakemake==9.27.1' 2> "$dir/pip.log" \
  || { cat "$dir/pip.log"; exit 1; }
export PATH="$dir/env/bin:$PATH" DVC_NO_ANALYTICS=1 GIT_CONFIG_GLOBAL="$dir/gitconfig"
git config --global user.name a; git config --global user.email a@example.com
git config --global init.defaultBranch made
echo "dvc $(dvc --version), snakemake $(snakemake --version)"
quietly() { "$@" > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }; }
mkdir "$dir/project"; cd "$dir/project"; git init -q; dvc init -q
printf '.snakemake\npage.txt\nSnakefile\n' > .gitignore
for version in first second; do
  cat > Snakefile <<S
rule images:
    output: directory("images")
    shell: "mkdir {output}; for i in 1 2 3; do echo $version > {output}/\$i.txt; done"
S
  quietly snakemake --cores 1 --forceall
  [ -f images/.snakemake_timestamp ]
  dvc add -q images; git add -A; git commit -qm "$version"; git branch "$version"
done
page() { # page SAID EXPECTED FIRST SECOND INPUTS [made]: a page of the first version, then the second is checked out
  git checkout -q "$3"; rm -rf images; dvc checkout -q
  [ -z "${6:-}" ] || touch images/.snakemake_timestamp  # as Snakemake has left it there
  cat > Snakefile <<S
rule page:
    input: $5
    output: "page.txt"
    shell: "cat images/1.txt > {output}"
S
  quietly snakemake --cores 1 --forceall
  sleep 2; git checkout -q "$4"; dvc checkout -q
  quietly snakemake -n
  if grep -q '^rule page' "$dir/log"; then found=page; else grep -q 'Nothing to be done' "$dir/log"; found=nothing; fi
  printf '  %-33s %s  %s  %s\n' "$1" "$(cat images/1.txt)" "$(cat page.txt)" "$found"
  [ "$(cat images/1.txt) $(cat page.txt) $found" = "second first $2" ] || { echo "expected $2"; exit 1; }
}
for link in copy hardlink symlink; do
  printf '[cache]\n    type = %s\n' "$link" > .dvc/config.local
  page "directory(), $link" nothing first second '"images"'
  [ "$link" != symlink ] || [ -L images/1.txt ]
done
rm .dvc/config.local
page 'directory(), images as inputs' page first second 'expand("images/{i}.txt", i=[1, 2, 3])'
for version in first second; do
  git checkout -q "$version"; rm -rf images; dvc checkout -q; rm images/.snakemake_timestamp
  dvc add -q images; git checkout -qb "$version-bare"; git commit -qam "$version without the file"
done
page 'directory without the file' page first-bare second-bare '"images"'
echo .snakemake_timestamp > .dvcignore
page 'directory(), in .dvcignore' nothing first-bare second-bare '"images"' made
