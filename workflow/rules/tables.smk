# Tables: rows are runs, listed in experiments/tables; beside each table, a picture of its rows.


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
