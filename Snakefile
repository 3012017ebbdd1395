"""The DiMR paper as files: ask for one by name, `snakemake results/digits/table1.csv`."""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/stages.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/workspace.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/distortion.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/study.smk"


rule all:
    input:
        "results/table4.csv",
        "results/table5.csv",
        "results/digits/table1.csv",
