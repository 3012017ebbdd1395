# Tables of experiments/tables. On a dataset, rows are runs, and beside each table is a picture of them.


rule table:
    input:
        table="experiments/tables/{dataset}/{table}.yaml",
        metrics=table_cells("runs/{run}/metrics/{setting}.json"),
        provenance=table_cells("runs/{run}/provenance/{setting}.json"),
        samples=table_cells("runs/{run}/samples/{setting}"),
    output:
        csv="results/{dataset}/{table}.csv",
        markdown="results/{dataset}/{table}.md",
        picture=report(
            "results/{dataset}/{table}.png",
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        "logs/results/{dataset}/{table}.log",
    benchmark:
        "logs/results/{dataset}/{table}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} table --table {input.table} --runs runs --csv {output.csv} "
        "--markdown {output.markdown} --picture {output.picture}"


rule paper_table:
    # The paper's tables of variants (3) and settings (4): counted and looked up, nothing is trained.
    input:
        table="experiments/tables/{table}.yaml",
        published="experiments/published.yaml",
        variants="experiments/variants.yaml",
        recipes="experiments/recipes.yaml",
        networks=sorted(
            f"src/dimr/models/{file.name}"
            for file in (SOURCE / "dimr/models").glob("*.py")
        ),
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        latex="results/{table}.tex",
    log:
        "logs/results/{table}.log",
    benchmark:
        "logs/results/{table}.tsv"
    wildcard_constraints:
        table="table[34]",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} paper-table --table {input.table} --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex}"
