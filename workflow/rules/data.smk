# Snakemake deletes a job's outputs before it runs again, and when it fails. So the output is a small
# record of the archive beside it, which itself is no output: what was verified is never deleted. The
# record's name tells what is wanted, and nothing else makes a download stale.
rule download:
    output:
        "data/raw/{archived}/{archive}@{key}.json",
    log:
        "logs/download/{archived}/{archive}@{key}.log",
    params:
        # Asking for `output` keeps these out of the recorded parameters: titles, addresses and where a
        # copy lies are no part of what it is.
        spec=lambda wildcards, output: as_json(archive(wildcards)),
        code=archive_code,
        loader=archive_loader,
        own_copy=own_copy,
    shell:
        "multistep data download --dataset {wildcards.archived} --archive {wildcards.archive} "
        "--spec {params.spec:q} {params.loader:q} {params.own_copy:q} "
        "--out data/raw/{wildcards.archived:q}/{wildcards.archive:q} --record {output:q} 2>&1 "
        '| (trap "" HUP INT TERM; tee {log:q})'


rule prepare:
    input:
        archives=lambda wildcards: records(wildcards.dataset),
        split=committed_split,
    output:
        images="data/processed/{dataset}/images.npy",
        description="data/processed/{dataset}/dataset.json",
    log:
        "logs/prepare/{dataset}.log",
    params:
        code=loader_code,
        decisive=lambda wildcards: canonical_json(PARAMS.datasets[wildcards.dataset].decisive()),
        spec=lambda wildcards, output: as_json(PARAMS.datasets[wildcards.dataset]),
        raw=lambda wildcards, input: Path(input.archives[0]).parent,
        out=subpath(output.images, parent=True),
    shell:
        "multistep data prepare --dataset {wildcards.dataset} --spec {params.spec:q} "
        "--raw {params.raw:q} --out {params.out:q} > {log:q} 2>&1"


rule data:
    input:
        expand(
            "data/processed/{dataset}/{file}",
            dataset=DATASETS,
            file=["images.npy", "dataset.json"],
        ),
        [record for network in NETWORKS for record in records(network)],
