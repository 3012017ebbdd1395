"""``dimr import``: published weights as a run's model."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dimr.config.schema import ImportConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of
from dimr.stages.job import Job
from dimr.stages.options import positive
from dimr.stages.stage import Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

TOLD = ("variant", "heads", "time_map", "schedule", "input_size", "classes")
"""Options that say what the weights are; a run's configuration says all of it."""


class ImportStage(Stage):
    """Checkpoints of DiMR, U-ViT or DiT: all tensors are matched before anything is written."""

    name = "published"
    about = (
        "turn other people's weights (a checkpoint of DiMR, U-ViT or DiT, as published or as their "
        "trainers save it, or a diffusers DiT folder) into a run's model folder"
    )
    phase = "import"
    config = ImportConfig
    outputs: ClassVar = {"out": Output("model", "runs/{run}/model")}
    command = "import"
    wildcards: ClassVar = {"run": r"[\w-]+/[\w-]+/published"}
    config_is_required = False
    is_short = True

    @property
    def log(self) -> str:
        """Named like the command."""
        return f"{self.folder.removeprefix('runs/')}/{self.command}"

    def cost(self, target: Target) -> "Cost":
        """The weights in float32."""
        from dimr.stages.costs import count_network

        parameters, _ = count_network(target.run)
        return replace(super().cost(target), stage="import", disk=4 * parameters)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What the weights are, where neither file nor configuration says it."""
        files = ".pth, .pt, .bin, .ckpt, .safetensors, or the folder of a trainer or of diffusers"
        parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help=files)
        parser.add_argument("--dry-run", action="store_true", help="only report what it contains")
        text = "refuse all but this variant (dimr-xl-2r), or the network of this run"
        parser.add_argument("--variant", metavar="NAME", help=text)
        text = "attention heads (default: the variant's, else as published for the width)"
        parser.add_argument("--heads", type=positive, metavar="N", help=text)
        maps = ["latent", "pixel"]
        text = "default: the file's, else latent for 4 channels, pixel for 3"
        parser.add_argument("--time-map", choices=maps, help=text)
        text = (
            "of the noise (default: the file's; else linear for diffusers' DiT, as the time map "
            "for DiMR and U-ViT; required for others: linear for the DiT authors' weights)"
        )
        parser.add_argument("--schedule", choices=[*maps, "linear"], help=text)
        text = "side of the input, for diffusers' tensors without their config.json (default: 32)"
        parser.add_argument("--input-size", type=positive, metavar="N", help=text)
        text = 'without "no class", for U-ViT, whose last label may be that or a class'
        parser.add_argument("--classes", type=positive, metavar="N", help=text)

    def check(self, options: argparse.Namespace) -> None:
        """Either a configuration or the options must say what the weights are."""
        if options.path is None and options.config is None:
            raise DimrError("import: needs PATH, or --config of a run .../published")
        said = [key for key in TOLD if getattr(options, key) is not None]
        if options.config and said:
            flag = "--" + said[0].replace("_", "-")
            raise DimrError(
                f"import: {flag} cannot be combined with --config, which defines the network"
            )
        if options.out is None and not options.dry_run:
            raise DimrError("import: needs --out (or --dry-run)")

    def work(self, job: Job) -> None:
        """Read, match, write; the report is printed."""
        from dimr.checkpoints import ImportOptions, fetch, read_published

        options, config = job.options, job.config
        if config is not None:
            wanted = ImportOptions(network=config.network, where=str(options.config))
        else:
            wanted = ImportOptions.of(**{key: getattr(options, key) for key in TOLD})
        path = options.path or fetch(config.repo, config.file, config.revision)
        imported = read_published(path, wanted)
        if options.dry_run:
            print(*imported.report(), "written  nothing (--dry-run)", sep="\n")
            return
        imported.require_told()
        source = imported.source()
        if config is None:
            network = imported.network.model_dump(mode="json")
            job.key = key_of("import", network, source["sha256"])
        with job.result() as result:
            imported.write(result.folder, config.class_names if config else ())
            result.facts = {
                "config": config and config.model_dump(mode="json"),
                "matched": imported.record(),
            }
            job.origin["source"] = source
        print(*imported.report(), f"written  {options.out}", sep="\n")
