# Tables of experiments/tables, by the names of their files.


include: "tables_inputs.smk"


localrules:
    table,
    plain_table,


rule table:
    # Tables of our runs, with a picture. What `make demo` makes has a place of its own: the study's
    # recorded results stay as they are.
    input:
        unpack(table_inputs),
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        latex="results/{table}.tex",
        picture=report(
            "results/{table}.png",
            caption="../report/table.rst",
            category="Tables",
            labels=lambda wildcards: {
                "Table": Path(wildcards.table).name,
                "As": "picture",
            },
        ),
    log:
        "logs/results/{table}.log",
    benchmark:
        "logs/results/{table}.tsv"
    wildcard_constraints:
        table=rf"(?:demo/)?(?:{'|'.join(map(re.escape, PICTURED))})",
    conda:
        "../../environment.yml"
    params:
        seeds=lambda wildcards: (
            f"--seeds {DEMO_SEEDS}" if wildcards.table.startswith("demo/") else ""
        ),
    shell:
        "dimr --log {log} table --table {input.table} --runs runs --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --picture {output.picture} "
        "{params.seeds}"


rule plain_table:
    # Without a picture: beside published results, of networks that are counted, and partial ones of
    # the runs that are available when the workflow is read, which mark and list what is missing.
    input:
        unpack(table_inputs),
    output:
        csv="results/{table}.csv",
        markdown="results/{table}.md",
        latex="results/{table}.tex",
    log:
        "logs/results/{table}.log",
    benchmark:
        "logs/results/{table}.tsv"
    wildcard_constraints:
        table="|".join(["partial/.+", *map(re.escape, PLAIN)]),
    conda:
        "../../environment.yml"
    params:
        partial=lambda wildcards: (
            "--partial" if wildcards.table.startswith("partial/") else ""
        ),
    shell:
        "dimr --log {log} table --table {input.table} --runs runs --csv {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} {params.partial}"
