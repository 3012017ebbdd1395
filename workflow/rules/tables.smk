# Tables of experiments/tables. On a dataset, rows are runs, and beside each table is a picture of them;
# a table that a dataset has no counterpart of says so (kind: absent).
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
        latex="results/{dataset}/{table}.tex",
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
        dataset=rf"(?!partial/|(?:{of_kind('variants', 'settings')})\.)[\w-]+",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} table --table {input.table} --runs runs --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --picture {output.picture}"


use rule table as demo_table with:
    # What `make demo` makes, in a place of its own: the study's recorded results stay as they are.
    output:
        csv="results/demo/{dataset}/{table}.csv",
        markdown="results/demo/{dataset}/{table}.md",
        latex="results/demo/{dataset}/{table}.tex",
        picture="results/demo/{dataset}/{table}.png",
    log:
        "logs/results/demo/{dataset}/{table}.log",
    benchmark:
        "logs/results/demo/{dataset}/{table}.tsv"
    wildcard_constraints:
        dataset=r"[\w-]+",


rule partial_table:
    # As `table`, with the runs that are available when the workflow is read; what is missing is marked
    # and listed.
    input:
        table="experiments/tables/{dataset}/{table}.yaml",
        metrics=table_cells_at_hand(metrics_file),
        provenance=table_cells_at_hand(provenance_file),
    output:
        csv="results/partial/{dataset}/{table}.csv",
        markdown="results/partial/{dataset}/{table}.md",
        latex="results/partial/{dataset}/{table}.tex",
    log:
        "logs/results/partial/{dataset}/{table}.log",
    benchmark:
        "logs/results/partial/{dataset}/{table}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} table --table {input.table} --runs runs --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --partial"


rule paper_table:
    # Tables of variants (3) and settings (4), the paper's and on digits: counted, nothing is trained.
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
    # As `results_table`, with the runs that are available when the workflow is read; what is missing is
    # marked and listed.
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
