"""What no tensor tells of published weights: heads, labels, time map, noise schedule, objective.

It is told by the user, by what ``dimr export`` wrote beside the tensors, or by what trainers keep
there; where it is the same for everything that is published under these names, it is taken so, and
the report says it. What is left is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dimr.checkpoints.formats import FORMATS
from dimr.checkpoints.opening import shown
from dimr.checkpoints.read import CheckpointInfo
from dimr.checkpoints.recorded import OBJECTIVES
from dimr.config.schema import NetworkConfig
from dimr.config.variants import Variant
from dimr.runtime.errors import DimrError

RECORDED = "recorded in the file"
PUBLISHED_CHANNELS = (3, 4)
"""Channels of what DiMR's and U-ViT's authors publish: pixels, and latents."""
OF_SIT = ("path_type", "prediction", "loss_weight", "train_eps", "sample_eps")
"""Settings of SiT's trainer, which saves weights under DiT's names that predict a velocity."""
PREDICTS = ("prediction", "prediction_type", "parameterization", "objective")
"""What other trainers call the objective in their settings."""
PREDICTS_OTHER = ("predict_xstart", "predict_x0", "predict_v")
"""The same as a yes or no."""
NOISE = (*OBJECTIVES, "eps", "epsilon", "pred_noise", "noise_pred")


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of the weights; None: as they are, else as it is published.

    Attributes:
        variant: the listed variant that they should be.
        network: the network that they should be, input included.
        where: who says so, for messages.
        heads: attention heads, which no tensor tells.
        time_map: ``latent`` or ``pixel``.
        input_size: H = W of the input, which diffusers' tensors do not tell.
        schedule: of the noise.
        classes: number of classes, without "no class".
        objective: that of the run which ``where`` names.
    """

    variant: Variant | None = None
    network: NetworkConfig | None = None
    where: str = "--variant"
    heads: int | None = None
    time_map: str | None = None
    input_size: int | None = None
    schedule: str | None = None
    classes: int | None = None
    objective: str | None = None


@dataclass(frozen=True)
class Noise:
    """How the weights were trained.

    Attributes:
        schedule: of the noise.
        schedule_from: who says so.
        objective: ``noise`` or ``hybrid``; None: not known.
        untold: what must be told before the weights can be used, one line; empty: nothing.
    """

    schedule: str
    schedule_from: str
    objective: str | None
    untold: str = ""


def agreed(what: str, stated: Mapping[str, Any], facts: CheckpointInfo) -> tuple[Any, str] | None:
    """What is stated, and who is the first to say it; None: nobody does.

    Args:
        what: is stated, for messages.
        stated: the value by who says it; None: does not.
        facts: of the file.

    Raises:
        DimrError: two that disagree.
    """
    said = [(value, who) for who, value in stated.items() if value is not None]
    if any(value != said[0][0] for value, _ in said):
        each = ", ".join(f"{value} ({who})" for value, who in said)
        raise DimrError(f"{facts.file}: {what}: {each}: which?")
    return said[0] if said else None


# --- noise ----------------------------------------------------------------------------------------


def refuse_other_objectives(facts: CheckpointInfo, form: str) -> None:
    """Refuse weights whose trainer's settings say that they predict something else than noise.

    Args:
        facts: of the file.
        form: whose names it has.

    Raises:
        DimrError: names the setting.
    """
    said = facts.settings
    sign = next((key for key in OF_SIT if key in said), None) if form == "dit" else None
    if form == "dit" and str(said.get("model")).startswith("SiT"):
        sign = "model"
    sign = sign or next((key for key, value in said.items() if _is_other(key, value)), None)
    if sign is not None:
        raise DimrError(
            f"{facts.file}: its trainer's settings say {shown(sign)} {str(said[sign])[:40]!r}, as "
            f"SiT's and others do: objective not supported (allowed: {', '.join(OBJECTIVES)})"
        )


def _is_other(key: str, value: Any) -> bool:
    """Whether a setting, however deep, says that something else than noise is predicted."""
    name = key.rpartition(".")[2]
    if name in PREDICTS:
        return isinstance(value, str) and value not in NOISE
    return name in PREDICTS_OTHER and value is True


def time_map_of(facts: CheckpointInfo, asked: ImportOptions) -> str | None:
    """The time map, if anybody states it."""
    stated = {
        "--time-map": asked.time_map,
        asked.where: asked.network.time_map if asked.network else None,
        RECORDED: facts.recorded.get("time_map"),
    }
    found = agreed("time map", stated, facts)
    return found[0] if found else None


def schedule_of(facts: CheckpointInfo, asked: ImportOptions) -> tuple[str, str] | None:
    """The noise schedule, if anybody states it, and who does."""
    stated = {
        "--schedule": asked.schedule,
        asked.where: asked.network.schedule if asked.network else None,
        RECORDED: facts.recorded.get("schedule"),
    }
    return agreed("noise schedule", stated, facts)


def noise_of(
    facts: CheckpointInfo, form: str, sizes: Mapping[str, Any], asked: ImportOptions
) -> Noise:
    """Noise schedule and objective.

    Args:
        facts: of the file.
        form: whose names it has.
        sizes: the network's.
        asked: what the user says.

    Raises:
        DimrError: two statements that disagree.
    """
    found = schedule_of(facts, asked) or _published_schedule(facts, form, sizes, asked)
    if found is None:
        own = "linear" if sizes["family"] == "dit" else sizes["time_map"]
        return Noise(own, "", None, _question(sizes))
    stated = {asked.where: asked.objective, RECORDED: facts.recorded.get("objective")}
    schedule, who = found
    objective: str | None = "noise"
    if said := agreed("objective", stated, facts):
        objective = said[0]
    elif sizes.get("learn_sigma"):  # DiT's authors trained with the linear schedule, and hybrid
        objective = "hybrid" if schedule == "linear" else None
    return Noise(schedule, who, objective)


def _published_schedule(
    facts: CheckpointInfo, form: str, sizes: Mapping[str, Any], asked: ImportOptions
) -> tuple[str, str] | None:
    """As everything has it that is published under these names; None: not everything is alike."""
    if form == "diffusers-dit":
        return "linear", "as DiT's authors have it"
    if form == "dit":
        said = facts.settings
        is_dits = str(said.get("model")).startswith("DiT-") and (
            said.get("noise_schedule", "linear") == "linear"
        )
        return ("linear", "DiT's trainer has no other") if is_dits else None
    if sizes["channels"] in PUBLISHED_CHANNELS:
        return sizes["time_map"], f"as published for {sizes['channels']} channels"
    time_map = time_map_of(facts, asked)
    return (time_map, "as the time map") if time_map else None


def _question(sizes: Mapping[str, Any]) -> str:
    if sizes["family"] == "dit":
        return (
            "no tensor tells noise schedule and objective, and SiT's weights have the same names: "
            "give --schedule linear for DiT's authors' weights, else --schedule latent or pixel, "
            "--variant RUN or --config"
        )
    return (
        f"no tensor tells time map and noise schedule of {sizes['channels']} channels: give "
        "--time-map and --schedule (latent or pixel), --variant RUN or --config"
    )


# --- heads and labels -----------------------------------------------------------------------------


def heads_of(
    facts: CheckpointInfo, sizes: Mapping[str, Any], asked: ImportOptions, listed: Variant | None
) -> tuple[int, str]:
    """The number of heads, and who says it.

    Args:
        facts: of the file.
        sizes: the network's.
        asked: what the user says.
        listed: the variant that it is, heads aside.

    Raises:
        DimrError: nobody does, two disagree, or the width cannot be split so.
    """
    wanted = asked.network or (asked.variant.variant if asked.variant else None)
    stated = {
        "--heads": asked.heads,
        "config.json": facts.heads,
        asked.where: getattr(wanted, "heads", None),
        RECORDED: facts.recorded.get("heads"),
    }
    width = sizes["dims"][0] if "dims" in sizes else sizes["dim"]
    published = FORMATS[sizes["family"]].HEADS
    found = agreed("number of heads", stated, facts)
    if found is None and listed:
        found = listed.variant.sizes()["heads"], f"as {listed.name} has"
    if found is None and (isinstance(published, int) or width in published):
        known = published if isinstance(published, int) else published[width]
        found = known, f"as published for width {width}; --heads N if not"
    if found is None:
        raise DimrError(f"{facts.file}: no tensor tells the heads of width {width}: give --heads")
    heads, who = found
    if width % heads:
        raise DimrError(f"{facts.file}: width {width} cannot be split into {heads} heads ({who})")
    return heads, who


def classes_of(
    facts: CheckpointInfo, sizes: Mapping[str, Any], asked: ImportOptions, listed: Variant | None
) -> dict[str, Any]:
    """What the labels are: ``num_classes``, and whether a U-ViT has one for "no class".

    Tensors tell how many labels there are. DiT and DiMR always have one for "no class". Of a U-ViT
    it is said by the user, by the file, or by the published variant with its 1,000 classes; else
    it is as its authors have it: latent models with such a label, pixel models without.

    Args:
        facts: of the file.
        sizes: the network's.
        asked: what the user says.
        listed: the variant that it is.

    Returns:
        The sizes that this says; none for the other families.

    Raises:
        DimrError: so many classes do not make so many labels, or two statements disagree.
    """
    is_uvit = sizes["family"] == "uvit"
    null = sizes.get("has_null_label", True)
    labels = sizes["num_classes"] + null
    allowed = (labels - 1, labels) if is_uvit else (labels - 1,)
    if asked.classes is not None and asked.classes not in allowed:
        known = " or ".join(map(str, allowed))
        raise DimrError(
            f"{facts.file}: has {labels} labels, so {known} classes; --classes {asked.classes}"
        )
    if not is_uvit:
        if facts.settings.get("num_classes") == labels:
            raise DimrError(
                f"{facts.file}: its trainer's settings say {labels} classes, and it has {labels} "
                'labels: none is for "no class", which a network of this family has here'
            )
        return {}
    stated = {
        "--classes": None if asked.classes is None else asked.classes < labels,
        asked.where: getattr(asked.network, "has_null_label", None),
        RECORDED: facts.recorded.get("has_null_label"),
    }
    variant = asked.variant or listed
    published = variant.published_input.get("num_classes") if variant else None
    if found := agreed('label for "no class"', stated, facts):
        null = found[0]
    elif published in allowed:
        null = published < labels
    return {"has_null_label": null, "num_classes": labels - null}
