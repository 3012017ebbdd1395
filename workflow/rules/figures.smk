# Figures of experiments/figures: the paper's below results/figures, those of a dataset below
# results/<dataset>/figures. A definition names what the figure is made of, so that it is made first.


include: "figures_inputs.smk"


localrules:
    figure,
    architecture,


rule figure:
    input:
        unpack(figure_inputs),
    output:
        pdf="results/{place}figures/{figure}.pdf",
        png=report(
            "results/{place}figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        "logs/results/{place}figures/{figure}.log",
    benchmark:
        "logs/results/{place}figures/{figure}.tsv"
    wildcard_constraints:
        place=r"([\w-]+/)?",
        figure=r"\w+",
    conda:
        "../../environment.yml"
    params:
        caption=figure_caption,  # of the report
        metrics=lambda wildcards, input: (
            f"--metrics {input.metrics}" if input.metrics else ""
        ),
    shell:
        "dimr --log {log} figure {wildcards.place}{wildcards.figure} --runs runs "
        "--out {output.pdf} --png {output.png} {params.metrics}"


rule architecture:
    # Of any variant that `dimr models` lists; nothing is trained.
    input:
        architecture_files,
    output:
        pdf="results/figures/architecture/{variant}.pdf",
        png="results/figures/architecture/{variant}.png",
    log:
        "logs/results/figures/architecture/{variant}.log",
    benchmark:
        "logs/results/figures/architecture/{variant}.tsv"
    wildcard_constraints:
        variant=r"[\w-]+",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} figure architecture --variant {wildcards.variant} "
        "--out {output.pdf} --png {output.png}"
