rule download:
    input:
        code=archive_code,
    output:
        "data/raw/{archived}/{archive}",
    log:
        "logs/download/{archived}/{archive}.log",
    params:
        spec=lambda wildcards: as_json(archive(wildcards)),
        loader=archive_loader,
        source=archive_source,
    shell:
        "multistep data download --dataset {wildcards.archived} --archive {wildcards.archive} "
        "--spec {params.spec:q} {params.loader:q} {params.source:q} --out {output:q} 2>&1 "
        '| (trap "" INT TERM; tee {log:q})'


rule prepare:
    input:
        archives=raw_archives,
        split=committed_split,
        code=loader_code,
    output:
        images="data/processed/{dataset}/images.npy",
        description="data/processed/{dataset}/dataset.json",
    log:
        "logs/prepare/{dataset}.log",
    params:
        spec=lambda wildcards: as_json(PARAMS.datasets[wildcards.dataset]),
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
            f"data/raw/{network}/{archive}"
            for network in NETWORKS
            for archive in PARAMS.source_networks[network].archives
        ],
