rule download:
    input:
        code=archive_code,
    output:
        "data/raw/{dataset}/{archive}",
    log:
        "logs/download/{dataset}/{archive}.log",
    params:
        spec=lambda wildcards: as_json(archive(wildcards)),
        source=archive_source,
    shell:
        "multistep data download --dataset {wildcards.dataset} --archive {wildcards.archive} "
        "--spec {params.spec:q} {params.source:q} --out {output:q} 2>&1 "
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
