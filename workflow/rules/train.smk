rule train_cell:
    input:
        unpack(cell_inputs),
        # The description has the digest of the images, and its own content decides what is stale.
        images=ancient("data/processed/{dataset}/images.npy"),
        description="data/processed/{dataset}/dataset.json",
    output:
        result="results/{experiment}/{dataset}/{method}/{seed}.json",
        parameters="results/{experiment}/{dataset}/{method}/{seed}.safetensors",
    log:
        "logs/train/{experiment}/{dataset}/{method}/{seed}.log",
    threads: 1 if CUDA else PARAMS.threads
    resources:
        gpu=int(CUDA),
    params:
        code=cell_code,
        cell=lambda wildcards: cell(wildcards).json,
        options=train_options,
    shell:
        # The shell waits when it is told to stop, or a cluster would end the job before its state is saved.
        "trap : HUP INT TERM; multistep train --cell {params.cell:q} {params.options:q} --out {output.result:q} "
        '--threads {threads} 2>&1 | (trap "" HUP INT TERM; tee {log:q})'


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
        definition=lambda wildcards, output: by_path.choice_of(*choice(wildcards)),
    shell:
        "multistep choose --setting {params.setting} --choice-of {params.definition:q} --out {output:q} "
        "{input.candidates:q} > {log:q} 2>&1"


# Results that were committed without their parameters count as done: the latter have a target.
rule train:
    input:
        lambda wildcards: list(CELLS),
        left_by_failures,


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
        lambda wildcards: [
            file for cell in CELLS for file in (cell, str(parameters.beside(Path(cell))))
        ],
