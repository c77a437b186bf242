rule train_cell:
    input:
        # The description has the digest of the images, and its own content decides what is stale.
        images=ancient("data/processed/{dataset}/images.npy"),
        description="data/processed/{dataset}/dataset.json",
        network=cell_network,
        choice=choice_file,
    output:
        result="results/{experiment}/{dataset}/{method}/{seed}.json",
        parameters="results/{experiment}/{dataset}/{method}/{seed}.safetensors",
    log:
        "logs/train/{experiment}/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/train/{experiment}/{dataset}/{method}/{seed}.tsv"
    threads: 1 if CUDA else PARAMS.threads
    resources:
        gpu=int(CUDA),
    params:
        code=cell_code,
        cell=lambda wildcards: cell(wildcards).json,
        data=subpath(input.images, parent=True),
        network=network_option,
        choice=choice_option,
        # Not declared as an output: Snakemake deletes those of a failed job.
        checkpoint=subpath(output[0], strip_suffix=".json"),
        # Where a cell runs is no part of what it is; asking for `output` keeps it unrecorded.
        device=lambda wildcards, output: PARAMS.device,
        checkpoint_seconds=lambda wildcards, output: PARAMS.checkpoint_seconds,
    shell:
        # The shell waits when it is told to stop, or a cluster would end the job before its state is saved.
        "trap : HUP INT TERM; multistep train --cell {params.cell:q} --data {params.data:q} {params.network:q} {params.choice:q} "
        "--out {output.result:q} --checkpoint scratch/{params.checkpoint:q}.pt --device {params.device} "
        "--threads {threads} --checkpoint-seconds {params.checkpoint_seconds} 2>&1 "
        '| (trap "" HUP INT TERM; tee {log:q})'


# A setting that validation chooses: its candidates are cells like others, but never tested.
rule choose:
    input:
        candidates=lambda wildcards: [candidate.path for candidate in choice(wildcards)[1]],
    output:
        "results/choices/{experiment}/{dataset}/{method}.json",
    log:
        "logs/choices/{experiment}/{dataset}/{method}.log",
    localrule: True
    params:
        code=code("multistep.plan.choose", "multistep.fewshot.record"),
        setting=lambda wildcards: choice(wildcards)[0],
        cells=lambda wildcards: f"[{', '.join(c.json for c in choice(wildcards)[1])}]",
    shell:
        "multistep choose --setting {params.setting} --cells {params.cells:q} --out {output:q} "
        "{input.candidates:q} > {log:q} 2>&1"


# Results that were committed without their parameters count as done: the latter have a target.
rule train:
    input:
        list(CELLS),


# How much of an accuracy is the protocol's, and what there is without meta-training; for pages alone.
rule evaluate_cell:
    input:
        images=ancient("data/processed/{dataset}/images.npy"),
        description="data/processed/{dataset}/dataset.json",
        parameters="results/{experiment}/{dataset}/{method}/{seed}.safetensors",
    output:
        "evaluations/{experiment}/{dataset}/{method}/{seed}.json",
    log:
        "logs/evaluations/{experiment}/{dataset}/{method}/{seed}.log",
    threads: 1 if CUDA else PARAMS.threads
    resources:
        gpu=int(CUDA),
    params:
        code=evaluation_code,
        device=lambda wildcards, output: PARAMS.device,
    shell:
        "multistep evaluate {input.parameters:q} --protocol all --floors --out evaluations "
        "--device {params.device} --threads {threads} > {log:q} 2>&1"


rule parameters:
    input:
        list(CELLS),
        [str(parameters.beside(Path(cell))) for cell in CELLS],
