# Datasets: raw images, the autoencoder, latents, and the classifier whose features the metrics use.


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
        config=data_config("autoencoder"),
        images="data/{dataset}/images",
    output:
        directory("data/{dataset}/autoencoder"),
    log:
        "logs/data/{dataset}/autoencoder.log",
    benchmark:
        "logs/data/{dataset}/autoencoder.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} autoencoder --config {input.config} --images {input.images} "
        "--out {output} --threads {threads}"


rule encode:
    input:
        config=data_config("latents"),
        images="data/{dataset}/images",
        autoencoder="data/{dataset}/autoencoder",
    output:
        directory("data/{dataset}/latents"),
    log:
        "logs/data/{dataset}/encode.log",
    benchmark:
        "logs/data/{dataset}/encode.tsv"
    conda:
        "../../environment.yml"
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
    shell:
        "dimr --log {log} classifier --config {input.config} --images {input.images} "
        "--out {output} --threads {threads}"
