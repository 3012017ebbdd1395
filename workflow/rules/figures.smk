# Figures of experiments/figures: the paper's below results/figures, those of a dataset below
# results/<dataset>/figures. A definition names what the figure needs, so that it is made first.
# experiments/figures.yaml has the paper's numbers: results/figures/figure3.pdf.


include: "figures_inputs.smk"


localrules:
    figure,


rule figure:
    input:
        unpack(figure_inputs),
    output:
        pdf="results/{place}figures/{figure}.pdf",
        png=report(
            "results/{place}figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"Figure": "{figure}"},
        ),
    log:
        "logs/results/{place}figures/{figure}.log",
    benchmark:
        "logs/results/{place}figures/{figure}.tsv"
    wildcard_constraints:
        place=r"([\w-]+/)?",
        figure=r"\w+(/[\w-]+)?",
    conda:
        "../../environment.yml"
    params:
        name=figure_meant,  # not figure7, whose class may change
        caption=figure_caption,  # for the report
        metrics=lambda wildcards, input: (
            f"--metrics {input.metrics}" if input.metrics else ""
        ),
    shell:
        "dimr --log {log} figure {params.name} --runs runs "
        "--out {output.pdf} --png {output.png} {params.metrics}"
