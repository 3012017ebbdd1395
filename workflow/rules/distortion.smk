# The human study: the page on which people rate, and what they said.


include: "distortion_inputs.smk"


localrules:
    rating_page,
    distortion_rates,


rule rating_page:
    input:
        study=study_file,
        scores=study_scores,
        images=study_images,
    output:
        page="results/{place}distortion/ratings.html",
        key="results/{place}distortion/key.json",
    log:
        "logs/results/{place}distortion/ratings.log",
    benchmark:
        "logs/results/{place}distortion/ratings.tsv"
    wildcard_constraints:
        place=r"([\w-]+/)?",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} rating-page --study {input.study} --runs runs --out {output.page} "
        "--key {output.key}"


rule distortion_rates:
    # With the CSVs in experiments/ratings/<study>; without one, only what the classifier says.
    input:
        key="results/{place}distortion/key.json",
        published="experiments/published.yaml",
        ratings=study_ratings,
    output:
        csv="results/{place}distortion/rates.csv",
        markdown="results/{place}distortion/rates.md",
    log:
        "logs/results/{place}distortion/rates.log",
    benchmark:
        "logs/results/{place}distortion/rates.tsv"
    wildcard_constraints:
        place=r"([\w-]+/)?",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} distortion {input.ratings} --key {input.key} --csv {output.csv} "
        "--markdown {output.markdown} > /dev/null"
