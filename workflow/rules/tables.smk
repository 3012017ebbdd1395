# Tables of experiments/tables. On a dataset, rows are runs, and beside each table is a picture of them.
# The paper's own are counted (variants, settings), or results of runs beside what is published.


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
    wildcard_constraints:
        dataset=r"(?!partial/)[\w-]+",
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
        table=of_kind("variants", "settings"),
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} paper-table --table {input.table} --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex}"


rule results_table:
    # Results of runs beside what is published: every run that a row names is an input.
    input:
        table="experiments/tables/{table}.yaml",
        published="experiments/published.yaml",
        metrics=result_files(metrics_file),
        provenance=result_files(provenance_file),
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        latex="results/{table}.tex",
    log:
        "logs/results/{table}.log",
    benchmark:
        "logs/results/{table}.tsv"
    wildcard_constraints:
        table=of_kind("results"),
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} paper-table --table {input.table} --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --metrics {input.metrics}"


rule partial_results_table:
    # The same with the runs at hand when the workflow is read; what is missing is marked and listed.
    input:
        table="experiments/tables/{table}.yaml",
        published="experiments/published.yaml",
        metrics=result_files_at_hand(metrics_file),
        provenance=result_files_at_hand(provenance_file),
    output:
        csv="results/partial/{table}.csv",
        markdown="results/partial/{table}.md",
        latex="results/partial/{table}.tex",
    log:
        "logs/results/partial/{table}.log",
    benchmark:
        "logs/results/partial/{table}.tsv"
    wildcard_constraints:
        table=of_kind("results"),
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} paper-table --table {input.table} --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --metrics {input.metrics} --partial"
