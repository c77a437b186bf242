rule table:
    input:
        results=lambda wildcards: TABLES[wildcards.table],
    output:
        csv="reports/tables/{table}.csv",
        md="reports/tables/{table}.md",
        tex="reports/tables/{table}.tex",
        record="reports/tables/{table}.json",
        html=report(
            "reports/tables/{table}.html",
            caption="../report/page.rst",
            category="Tables",
            subcategory=partial(page_group, "tables"),
            labels=partial(page_labels, "tables"),
        ),
    log:
        "logs/tables/{table}.log",
    localrule: True
    params:
        code=partial(page_code, "tables"),
        caption=partial(page_caption, "tables"),
        spec=lambda wildcards: as_json(spec_of("tables", wildcards)),
        context=lambda wildcards: as_json(context_of(spec_of("tables", wildcards))),
        plan=page_plan,
        out=subpath(output.csv, strip_suffix=".csv"),
    shell:
        "multistep report table --name {wildcards.table} --spec {params.spec:q} "
        "--context {params.context:q} --plan {params.plan:q} "
        "--out {params.out:q} > {log:q} 2>&1"


rule figure:
    input:
        results=lambda wildcards: FIGURES[wildcards.figure],
    output:
        csv="reports/figures/{figure}.csv",
        png="reports/figures/{figure}.png",
        pdf="reports/figures/{figure}.pdf",
        record="reports/figures/{figure}.json",
        svg=report(
            "reports/figures/{figure}.svg",
            caption="../report/page.rst",
            category="Figures",
            subcategory=partial(page_group, "figures"),
            labels=partial(page_labels, "figures"),
        ),
    log:
        "logs/figures/{figure}.log",
    localrule: True
    params:
        code=partial(page_code, "figures"),
        caption=partial(page_caption, "figures"),
        spec=lambda wildcards: as_json(spec_of("figures", wildcards)),
        context=lambda wildcards: as_json(context_of(spec_of("figures", wildcards))),
        plan=page_plan,
        out=subpath(output.csv, strip_suffix=".csv"),
    shell:
        "multistep report figure --name {wildcards.figure} --spec {params.spec:q} "
        "--context {params.context:q} --plan {params.plan:q} "
        "--out {params.out:q} > {log:q} 2>&1"


# Every table and figure is a target by its name: `snakemake table4`.
for form, names in SHOWN.items():
    for page in names:

        rule:
            name:
                page
            input:
                files_of(form, page),


# This scale's tables and figures, with what they need.
rule pages:
    input:
        files_of("tables", TABLES),
        files_of("figures", FIGURES),


if PARAMS.scale == "paper":

    # reports/: a site with every scale's pages and verdicts, from the results that are there; nothing is
    # trained for it. It has no output that is recorded, and is drawn whenever it is asked for.
    rule report:
        log:
            "logs/report.log",
        localrule: True
        params:
            project=ROOT,
        shell:
            "multistep report site --project {params.project:q} --out {params.project:q}/reports "
            "2>&1 | tee {log:q}"

else:

    rule report:
        input:
            rules.pages.input,


# The pages that the paper has, with what they need: no cell that only others show.
rule paper:
    input:
        files_of("tables", [name for name in TABLES if not PAGES["tables"][name].beyond]),
        files_of("figures", [name for name in FIGURES if not PAGES["figures"][name].beyond]),
