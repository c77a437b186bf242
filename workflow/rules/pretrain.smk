rule source_network:
    input:
        published=lambda wildcards: records(wildcards.network),
        data=network_data,
    output:
        weights="data/networks/{network}/weights.pt",
        description="data/networks/{network}/network.json",
    log:
        "logs/networks/{network}.log",
    threads: 1 if CUDA else PARAMS.threads
    resources:
        gpu=int(CUDA),
    params:
        code=code("multistep.transfer.pretrain"),
        # What decides its weights, besides its archives: no title, no address.
        decisive=lambda wildcards: canonical_json(network(wildcards).decisive()),
        spec=lambda wildcards, output: as_json(network(wildcards)),
        published=published_option,
        data=network_data_option,
        out=subpath(output.weights, parent=True),
        device=lambda wildcards, output: PARAMS.device,
        checkpoint_seconds=lambda wildcards, output: PARAMS.checkpoint_seconds,
    shell:
        # The shell waits when it is told to stop, or a cluster would end the job before its state is saved.
        "trap : HUP INT TERM; multistep pretrain --name {wildcards.network} --spec {params.spec:q} "
        "{params.published:q} {params.data:q} --out {params.out:q} "
        "--scratch scratch/networks/{wildcards.network}.pt --device {params.device} "
        "--threads {threads} --checkpoint-seconds {params.checkpoint_seconds} 2>&1 "
        '| (trap "" HUP INT TERM; tee {log:q})'


rule networks:
    input:
        expand(
            "data/networks/{network}/{file}", network=NETWORKS, file=["weights.pt", "network.json"]
        ),
