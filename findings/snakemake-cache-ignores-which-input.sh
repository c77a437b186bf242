#!/usr/bin/env bash
# Snakemake 9.27.1: `cache: True`, between-workflow caching, which keeps features, pretrained backbones and the like for
# every workflow on the machine. SNAKEMAKE=8.30.0 before the command takes another version.
#
# Behaviour: a cached file is found by a hash of the rule's command, its params and what it is made of. Of the last
# the hash has less than one would think. (1) An input that another rule has made counts by *that job* alone, not by
# which of its files it is: features of test.txt are features of train.txt where one rule has made both. (2) Other
# inputs count by their contents, sorted, without their names: training on part 1 and testing on part 2 is the same as
# the reverse, so two folds have one score. Both are right if `params:` name what differs. (3) Of a `run:` block nothing
# counts, neither its code nor the rule's name: two such rules with the same input give one result, and changed code
# gives the old one. Nothing warns, the log has one line about a link, and without `--cache` all of it is right.
# The documentation forbids wildcards, config and globals in the command of such a rule, and these rules have none of
# them; inputs it exempts, and of `run:` it says nothing. In Snakemake's issues we found no word of it.
#
# Seen, what each file should hold and what it holds (the same in 8.30.0):
#   train.features        features of train images         features of train images
#   test.features         features of test images          features of train images
#   fold1.score           trained on one, tested on two    trained on one, tested on two
#   fold2.score           trained on two, tested on one    trained on one, tested on two
#   mean.txt              mean of train images             mean of train images
#   deviation.txt         deviation of train images        mean of train images
#   code of mean changed  median of train images           mean of train images
#   with params: test     features of test images          features of test images
#   with params: fold2    trained on two, tested on one    trained on two, tested on one
#   without --cache       all right
#
# Fails if one of these changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
command -v uv > /dev/null || { python3 -m pip install --quiet --target "$dir/uv" uv; PATH="$dir/uv/bin:$PATH"; }
uv venv --quiet --python "$(command -v python3)" "$dir/env"
uv pip install --quiet --python "$dir/env" "snakemake==${SNAKEMAKE:-9.27.1}"
export PATH="$dir/env/bin:$PATH" SNAKEMAKE_OUTPUT_CACHE="$dir/cache"
echo "snakemake $(snakemake --version)"
mkdir "$dir/cache" "$dir/work"; cd "$dir/work"
echo one > part1.txt; echo two > part2.txt
cat > Snakefile <<'S'
parts = lambda w: {"train": f"part{w.k}.txt", "test": f"part{3 - int(w.k)}.txt"}
rule split:
    output: "train.txt", "test.txt"
    shell: "echo train images > train.txt; echo test images > test.txt"
rule features:
    input: "{part}.txt"
    output: "{part}.features"
    cache: True
    shell: "sed 's/^/features of /' {input} > {output}"
rule fold:
    input: unpack(parts)
    output: "fold{k}.score"
    cache: True
    shell: "echo trained on $(cat {input.train}), tested on $(cat {input.test}) > {output}"
rule mean:
    input: "train.txt"
    output: "mean.txt"
    cache: True
    run: open(output[0], "w").write("mean of " + open(input[0]).read())
rule deviation:
    input: "train.txt"
    output: "deviation.txt"
    cache: True
    run: open(output[0], "w").write("deviation of " + open(input[0]).read())
use rule features as features_named with:
    output: "named/{part}.features"
    params: part=lambda w: w.part
use rule fold as fold_named with:
    output: "named/fold{k}.score"
    params: fold=lambda w: w.k
S
files=(train.features test.features fold1.score fold2.score mean.txt deviation.txt)
make() { snakemake --cores 1 "$@" > log 2>&1 || { cat log >&2; exit 1; }; }
fails=0
holds() { # name, what it should hold, what it was seen to hold, file
  printf '  %-21s %-32s %s\n' "$1" "$2" "$(cat "$4")"
  [ "$(cat "$4")" = "$3" ] || fails=1
}
make --cache -- train.features fold1.score mean.txt
make --cache -- test.features fold2.score deviation.txt
holds train.features "features of train images" "features of train images" train.features
holds test.features "features of test images" "features of train images" test.features
holds fold1.score "trained on one, tested on two" "trained on one, tested on two" fold1.score
holds fold2.score "trained on two, tested on one" "trained on one, tested on two" fold2.score
holds mean.txt "mean of train images" "mean of train images" mean.txt
holds deviation.txt "deviation of train images" "mean of train images" deviation.txt
rm mean.txt; sed -i 's/"mean of/"median of/' Snakefile; make --cache -- mean.txt
holds "code of mean changed" "median of train images" "mean of train images" mean.txt
make --cache -- named/{train,test}.features named/fold{1,2}.score
holds "with params: test" "features of test images" "features of test images" named/test.features
holds "with params: fold2" "trained on two, tested on one" "trained on two, tested on one" named/fold2.score
rm "${files[@]}"; make -- "${files[@]}"
right=$(cat "${files[@]}")
[ "$right" = "features of train images
features of test images
trained on one, tested on two
trained on two, tested on one
median of train images
deviation of train images" ] && echo "  without --cache       all right" || fails=1
exit $fails
