"""Published weights in and out."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.arguments import Record, add_output, add_step, positive, refuse_if_changed
from dimr.config.runs import find_variant, load_run, load_section, section_key
from dimr.config.schema import ImportConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_directory, key_of, sha256

TOLD = ("variant", "heads", "time_map", "schedule", "input_size", "classes")
"""Arguments that say what the weights are; a run's configuration says it all."""


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = (
        "turn weights of others (a checkpoint of DiMR, U-ViT or DiT, as published or as their "
        "trainers save it, or a diffusers DiT folder) into a run's model folder"
    )
    parser = add_step(steps, "import", import_weights, text)
    files = ".pth, .pt, .bin, .ckpt, .safetensors, or the folder of a trainer or of diffusers"
    parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help=files)
    config = (
        "config/import.yaml of a run .../published: says which network it must be and, without "
        "PATH, what to download from the Hugging Face hub"
    )
    parser.add_argument("--config", type=Path, metavar="PATH", help=config)
    add_output(parser, "--out", "model", help="the model folder to make")
    parser.add_argument("--dry-run", action="store_true", help="report what it is, write nothing")
    only = "refuse all but this variant (dimr-xl-2r), or the network of this run"
    parser.add_argument("--variant", metavar="NAME", help=only)
    heads = "attention heads (default: the variant's, else as published for the width)"
    parser.add_argument("--heads", type=positive, metavar="N", help=heads)
    maps, time_map = (
        ["latent", "pixel"],
        "default: the file's, else latent for 4 channels, pixel for 3",
    )
    parser.add_argument("--time-map", choices=maps, help=time_map)
    schedule = (
        "of the noise (default: the file's; else linear for diffusers' DiT, as the time map for "
        "DiMR and U-ViT; to be told for others: linear for DiT's authors' weights)"
    )
    parser.add_argument("--schedule", choices=[*maps, "linear"], help=schedule)
    size = "side of the input, for diffusers' tensors without their config.json (default: 32)"
    parser.add_argument("--input-size", type=positive, metavar="N", help=size)
    classes = 'without "no class", for U-ViT, whose last label may be that or a class'
    parser.add_argument("--classes", type=positive, metavar="N", help=classes)

    text = "write a run's model under its authors' names (.pth, .pt or .safetensors)"
    add_step(steps, "export", export_weights, text, "model", out="weights")


def import_weights(options: argparse.Namespace) -> None:
    """``dimr import``: all tensors are matched before anything is written."""
    _check_options(options)
    record = Record()
    from dimr.checkpoints import fetch, read_published, write_model

    phase = load_section(ImportConfig, options.config) if options.config else None
    asked = _asked(options, phase)
    path = options.path or fetch(phase.repo, phase.file, phase.revision)  # type: ignore[union-attr]
    imported = read_published(path, asked)
    if options.dry_run:
        print(*imported.report(), "written  nothing (--dry-run)", sep="\n")
        return
    if imported.noise.untold:
        raise DimrError(f"{imported.facts.file}: {imported.noise.untold}")
    source = {**imported.facts.record(), "sha256": sha256(imported.facts.file)}
    network = imported.network.model_dump(mode="json")
    key = section_key(phase) if phase else key_of("import", network, source["sha256"])
    config = phase.model_dump(mode="json") if phase else None
    with atomic_directory(options.out) as folder:
        write_model(folder, imported.network, imported.tensors, objective=imported.noise.objective)
        if phase:
            refuse_if_changed(options.config, phase)
        record.write(folder, "model", key, config=config, source=source, matched=imported.record())
    print(*imported.report(), f"written  {options.out}", sep="\n")


def _asked(options: argparse.Namespace, phase: ImportConfig | None) -> Any:
    """What the weights should be, as a ``dimr.checkpoints.ImportOptions``."""
    from dimr.checkpoints import ImportOptions

    if phase is not None:
        return ImportOptions(network=phase.network, where=str(options.config))
    given = {key: getattr(options, key) for key in TOLD if key != "variant"}
    if options.variant is None:
        return ImportOptions(**given)
    if "/" not in options.variant:
        return ImportOptions(variant=find_variant(options.variant), **given)
    run = load_run(options.variant)
    if run.network is None:
        raise DimrError(f"--variant: run {run.name} has no network")
    objective = run.recipe.train.objective if run.weights is None else None
    return ImportOptions(network=run.network, where=run.name, objective=objective, **given)


def _check_options(options: argparse.Namespace) -> None:
    """What cannot be asked for together, and an output that would take other things' place."""
    if options.path is None and options.config is None:
        raise DimrError("import: needs PATH, or --config of a run .../published")
    said = [key for key in TOLD if getattr(options, key) is not None]
    if options.config and said:
        flag = "--" + said[0].replace("_", "-")
        raise DimrError(f"import: {flag} has no place beside --config, which says the network")
    out = options.out
    if options.dry_run:
        return
    if out is None:
        raise DimrError("import: needs --out (or --dry-run)")


def export_weights(options: argparse.Namespace) -> None:
    """``dimr export``."""
    from dimr.checkpoints import export

    tensors = export(options.model, options.out)
    print(f"written  {options.out} ({tensors} tensors)")
