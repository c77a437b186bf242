rule measure_methods:
    input:
        # The description has the digest of the images, and its own content decides what is stale.
        images=ancient("data/processed/{dataset}/images.npy"),
        description="data/processed/{dataset}/dataset.json",
        network=measurement_network,
    output:
        "results/measure/{experiment}/{dataset}.json",
    log:
        "logs/measure/{experiment}/{dataset}.log",
    # On CPU a measurement takes every core, so that no other job disturbs its clock.
    threads: ALL_CORES if PARAMS.measure.alone and not CUDA else 1
    resources:
        gpu=int(CUDA),
    params:
        code=measurement_code,
        definition=lambda wildcards: canonical_json(measurement(wildcards)),
        data=subpath(input.images, parent=True),
        network=network_option,
        device=lambda wildcards, output: PARAMS.device,
        threads=lambda wildcards, output: PARAMS.threads,
    shell:
        "multistep measure --definition {params.definition:q} --data {params.data:q} "
        "{params.network:q} --out {output:q} --device {params.device} --threads {params.threads} 2>&1 "
        '| (trap "" HUP INT TERM; tee {log:q})'


rule measure:
    input:
        list(MEASUREMENTS),
