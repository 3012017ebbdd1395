# Datasets: raw images, the autoencoder, latents, and what the metrics need: for the digits a classifier
# whose features they use, for ImageNet a reference batch and the Inception network's weights. Where
# files come from that nothing here may download unasked is told by environment variables: they are
# not part of what a result depends on, so that another place of the same files reruns nothing.


rule source:
    # A published set of image files, e.g. DIMR_IMAGENET=/datasets/ILSVRC2012 (folder, tar or hub name).
    input:
        config=source_config,
    output:
        directory("data/{source}/source"),
    log:
        "logs/data/{source}/source.log",
    benchmark:
        "logs/data/{source}/source.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} data {wildcards.source} --config {input.config} --out {output}"


rule reference:
    # An ADM reference batch: DIMR_REFERENCE is the file, or the folder that holds it.
    input:
        config=data_config("reference"),
    output:
        directory("data/{dataset}/reference"),
    log:
        "logs/data/{dataset}/reference.log",
    benchmark:
        "logs/data/{dataset}/reference.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} data reference --config {input.config} --out {output}"


rule extractor:
    # Inception's weights, as torch-fidelity publishes them: DIMR_EXTRACTOR is a file at hand, else fetched.
    output:
        "data/extractors/{weights}",
    log:
        "logs/data/extractors/{weights}.log",
    benchmark:
        "logs/data/extractors/{weights}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} data extractor --out {output}"


rule images:
    input:
        config=data_config("images"),
    output:
        directory("data/{dataset}/images"),
    log:
        "logs/data/{dataset}/images.log",
    benchmark:
        "logs/data/{dataset}/images.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} images --config {input.config} --out {output}"


rule autoencoder:
    input:
        unpack(images_to_train_on),
        config=data_config("autoencoder"),
    output:
        directory("data/{dataset}/autoencoder"),
    log:
        "logs/data/{dataset}/autoencoder.log",
    benchmark:
        "logs/data/{dataset}/autoencoder.tsv"
    conda:
        "../../environment.yml"
    resources:
        **of_job("autoencoder"),
    params:
        images=lambda wildcards, input: options(input, "images"),
    shell:
        "dimr --log {log} autoencoder --config {input.config} {params.images} "
        "--out {output} --threads {threads}"


rule encode:
    input:
        config=data_config("latents"),
        images=lambda wildcards: image_folder(wildcards.dataset),
        autoencoder="data/{dataset}/autoencoder",
    output:
        directory("data/{dataset}/latents"),
    log:
        "logs/data/{dataset}/encode.log",
    benchmark:
        "logs/data/{dataset}/encode.tsv"
    conda:
        "../../environment.yml"
    threads: cores("encode")
    resources:
        **of_job("encode"),
    shell:
        "dimr --log {log} encode --config {input.config} --images {input.images} "
        "--autoencoder {input.autoencoder} --out {output} --threads {threads}"


rule classifier:
    input:
        config=data_config("classifier"),
        images="data/{dataset}/images",
    output:
        directory("data/{dataset}/classifier"),
    log:
        "logs/data/{dataset}/classifier.log",
    benchmark:
        "logs/data/{dataset}/classifier.tsv"
    conda:
        "../../environment.yml"
    resources:
        **of_job("classifier"),
    shell:
        "dimr --log {log} classifier --config {input.config} --images {input.images} "
        "--out {output} --threads {threads}"
