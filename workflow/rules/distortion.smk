# The distortion study: scores of samples, the page on which people rate, and what they said.


include: "distortion_inputs.smk"


localrules:
    distortion_classifier,
    rating_page,
    distortion_rates,


rule distortion_classifier:
    # Weights of a timm model: DIMR_CLASSIFIER is a file at hand, else they are fetched from the hub.
    output:
        "data/classifiers/{name}.safetensors",
    log:
        "logs/data/classifiers/{name}.log",
    benchmark:
        "logs/data/classifiers/{name}.tsv"
    wildcard_constraints:
        name=r"[\w.-]+",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} distortion-classifier --name {wildcards.name} --out {output}"


rule distortion:
    input:
        unpack(scored_by),
        samples="runs/{run}/samples/{setting}",
    output:
        summary="runs/{run}/distortion/{setting}.json",
        confidence="runs/{run}/distortion/{setting}.npy",
        images="runs/{run}/distortion/{setting}.npz",
    log:
        "logs/{run}/distortion-{setting}.log",
    benchmark:
        "logs/{run}/distortion-{setting}.tsv"
    conda:
        "../../environment.yml"
    threads: cores("distortion")
    resources:
        **of_job("distortion"),
    params:
        others=lambda wildcards, input: options(input, "classifier", "weights"),
    shell:
        "dimr --log {log} distortion-scores --config {input.config} --samples {input.samples} "
        "{params.others} --out {output.summary} --threads {threads}"


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
    # With the CSVs in experiments/ratings/<study>; without one, what the classifier says alone.
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
