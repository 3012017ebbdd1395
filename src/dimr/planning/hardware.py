"""The machine of a plan: ``experiments/hardware.yaml``, and what a user knows better."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dimr.config.project import Project
from dimr.config.schema import ConfigModel, PositiveFloat, Step
from dimr.config.validation import did_you_mean, validate
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.stages.pipeline import Pipeline

STEPS: tuple[Step, ...] = ("encode", "train", "sample", "evaluate")


class Gpu(ConfigModel):
    """A GPU: peak of dense bf16 matrix products in TFLOP/s, and where the number is from."""

    name: str
    teraflops: PositiveFloat
    source: str


class Cpu(ConfigModel):
    """One core: GFLOP/s that steps of our networks reach, seconds of the others, and the source."""

    source: str
    gigaflops: dict[Step, PositiveFloat]
    seconds: dict[str, PositiveFloat]


class Hardware(ConfigModel):
    """hardware.yaml; ``utilisation`` is the share of the peak that a step reaches."""

    gpus: dict[str, Gpu]
    utilisation: dict[Step, PositiveFloat]
    cpu: Cpu


class Measured(ConfigModel):
    """A benchmark's result: images per second on one GPU, by step and by what was run.

    What was run is ``dataset/model`` (train, sample, evaluate) or a dataset (encode). ``gpu`` is a
    name in hardware.yaml, or as the GPU reports itself: "NVIDIA H100 80GB HBM3".
    """

    gpu: str
    source: str
    images_per_second: dict[Step, dict[str, PositiveFloat]]


def load_measured(path: Path, hardware: Hardware) -> Measured:
    """Read a benchmark's JSON, or the part for plans (``plan``) of what `make gpu-check` writes.

    Raises:
        DimrError: it names the file and the key.
    """
    content, where = read_json(path), str(path)
    if isinstance(content, dict) and "plan" in content:
        if content.get("small"):
            raise DimrError(f"{path}: of a trial with tiny networks (--small): nothing to plan by")
        content, where = content["plan"], f"{path}: plan"
    measured = validate(Measured, content, where)
    words = re.split(r"\W+", measured.gpu.lower())
    listed = next((name for name in hardware.gpus if name in words), measured.gpu)
    choose_gpu(listed, hardware, f"{where}: gpu")
    return measured.model_copy(update={"gpu": listed})


def choose_gpu(name: str, hardware: Hardware, where: str = "--gpu") -> Gpu:
    """A GPU by its name in hardware.yaml."""
    if name not in hardware.gpus:
        raise DimrError(
            f"{where}: no {name!r} in hardware.yaml {did_you_mean(name, [*hardware.gpus])}"
        )
    return hardware.gpus[name]


def parse_utilisation(texts: Sequence[str]) -> dict[Step, float]:
    """``0.35`` is for training, ``sample=0.2`` for that step; each in (0, 1]."""
    given: dict[Step, float] = {}
    for text in texts:
        found = re.fullmatch(r"(?:(\w+)=)?([0-9]*\.?[0-9]+)", text)
        if found is None or not 0 < float(found[2]) <= 1:
            raise DimrError(f"--utilisation {text}: should be a share in (0, 1], or step=share")
        named = found[1] or "train"
        step = next((one for one in STEPS if one == named), None)
        if step is None:
            raise DimrError(
                f"--utilisation {text}: no step {named!r} {did_you_mean(named, [*STEPS])}"
            )
        given[step] = float(found[2])
    return given


@dataclass(frozen=True)
class Rate:
    """FLOP/s of one device in a step, and whether it was measured, given or assumed."""

    flops: float
    origin: Literal["measured", "given", "assumed"]


@dataclass(frozen=True)
class Machine:
    """What the steps run on.

    Attributes:
        hardware: hardware.yaml.
        gpu: the kind of every GPU.
        given: utilisation by step, as stated by the user.
        measured: FLOP/s by step, then by what was run.
    """

    hardware: Hardware
    gpu: Gpu
    given: dict[Step, float]
    measured: dict[Step, dict[str, float]]

    def gpu_rate(self, step: Step, of: str) -> Rate:
        """One GPU's: as given; measured on the same network; on others (mean); or assumed."""
        if step in self.given:
            return Rate(self.gpu.teraflops * 1e12 * self.given[step], "given")
        if known := self.measured.get(step):
            mean = sum(known.values()) / len(known)
            return Rate(known.get(of, mean), "measured")
        return Rate(self.gpu.teraflops * 1e12 * self.hardware.utilisation[step], "assumed")

    def cpu_rate(self, step: Step) -> Rate | None:
        """One core's; None if hardware.yaml has none for the step."""
        rate = self.hardware.cpu.gigaflops.get(step)
        return None if rate is None else Rate(rate * 1e9, "measured")


def make_machine(
    project: Project,
    gpu: str | None = None,
    given: dict[Step, float] | None = None,
    measured: Sequence[Path] = (),
) -> Machine:
    """The machine of a plan, as ``hardware.yaml`` describes it.

    Args:
        project: whose hardware.yaml and recipes are read.
        gpu: its name there; None: the measured one, else an H100.
        given: utilisation by step, as stated by the user.
        measured: JSON of benchmarks (``Measured``). Of several, those of the GPU count; if two
            measured the same, the later file counts.

    Raises:
        DimrError: a GPU that is not listed or not a measured one, several measured ones but none
            named, or a mistake in a file.
    """
    hardware = project.load(Hardware, "hardware.yaml")
    found = [load_measured(path, hardware) for path in measured]
    kinds = list(dict.fromkeys(one.gpu for one in found))
    if gpu is None and len(kinds) > 1:
        raise DimrError(f"--measured: of {', '.join(kinds)}; say which with --gpu")
    if kinds and gpu not in (None, *kinds):
        raise DimrError(f"--gpu {gpu}: the measurements are of {', '.join(kinds)}")
    name = gpu or (kinds[0] if kinds else "h100")
    known = [one for one in found if one.gpu == name]
    rates = _rates(known, Pipeline(project)) if known else {}
    return Machine(hardware, choose_gpu(name, hardware), given or {}, rates)


def _rates(measured: Sequence[Measured], pipeline: Pipeline) -> dict[Step, dict[str, float]]:
    """FLOP/s of one GPU by step and network; samples are of the recipe's first setting."""
    rates: dict[Step, dict[str, float]] = {}
    for step, speeds in [pair for one in measured for pair in one.images_per_second.items()]:
        for of, speed in speeds.items():
            place = f"data/{of}/latents"
            if step != "encode":
                setting = pipeline.project.run(f"{of}/0").settings[0]
                places = {"train": "model", "sample": f"samples/{setting}"}
                place = f"runs/{of}/0/" + places.get(step, f"metrics/{setting}.json")
            one = pipeline.result(place)
            cost = one.stage.cost(one.target)
            if not cost.flops:
                raise DimrError(f"images_per_second.{step}: nothing of {of} can be counted")
            rates.setdefault(step, {})[of] = cost.flops / cost.images * speed
    return rates
