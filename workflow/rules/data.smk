# Snakemake deletes a job's outputs before it runs again and when it fails (or copies them, with
# `update`). So the output is a small record of the archive beside it, which itself is no output: what
# was verified is never deleted. What was asked for, and nothing else, makes a download stale.
rule download:
    output:
        update("data/raw/{archived}/{archive}.json"),
    log:
        "logs/download/{archived}/{archive}.log",
    params:
        asked=lambda wildcards: archives.asked(archive(wildcards), archive_path(wildcards)),
        # Asking for `output` keeps these out of the recorded parameters: titles, addresses and where a
        # copy lies are no part of what it is.
        spec=lambda wildcards, output: as_json(archive(wildcards)),
        code=archive_code,
        loader=archive_loader,
        source=archive_source,
        out=subpath(output[0], strip_suffix=".json"),
    shell:
        "multistep data download --dataset {wildcards.archived} --archive {wildcards.archive} "
        "--spec {params.spec:q} --asked {params.asked:q} {params.loader:q} {params.source:q} "
        "--out {params.out:q} 2>&1 "
        '| (trap "" INT TERM; tee {log:q})'


rule prepare:
    input:
        archives=raw_archives,
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
        [
            f"data/raw/{network}/{archive}.json"
            for network in NETWORKS
            for archive in PARAMS.source_networks[network].archives
        ],
