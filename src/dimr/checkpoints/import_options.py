"""What no tensor tells about published weights: heads, labels, time map, schedule, objective.

The user says it, or ``dimr export`` has recorded it in the file, or a trainer's settings beside the
tensors imply it. Where all weights published under these names agree, their value is assumed, and
the report says so. The user is asked for the rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from dimr.checkpoints.find_network import shown
from dimr.checkpoints.formats import FORMATS
from dimr.checkpoints.formats.base import Format, width_of
from dimr.checkpoints.match_variant import differences, find_listed, listed_sizes
from dimr.checkpoints.read import CheckpointInfo
from dimr.checkpoints.recorded import RECORDED
from dimr.config.project import PROJECT
from dimr.config.schema import NetworkConfig
from dimr.config.variants import Variant
from dimr.models.sizes import ends_in_convolution
from dimr.runtime.errors import DimrError

FLAGS = ("heads", "time_map", "schedule", "input_size")
"""Options whose value is a size of the network, or its noise schedule."""
DIFFUSERS_SIZES = {
    "num_layers": "depth",
    "patch_size": "patch",
    "in_channels": "channels",
    "num_embeds_ada_norm": "num_classes",
    "num_attention_heads": "heads",
    "sample_size": "input_size",
}
"""Keys of diffusers' config.json, and what they are here."""
PUBLISHED_CHANNELS = (3, 4)
"""Channels of what DiMR's and U-ViT's authors publish: pixels, and latents."""
OF_SIT = ("path_type", "prediction", "loss_weight", "train_eps", "sample_eps")
"""Settings of SiT's trainer, which saves weights under DiT's names that predict a velocity."""
PREDICTS = ("prediction", "prediction_type", "parameterization", "objective")
"""What other trainers call the objective in their settings."""
PREDICTS_OTHER = ("predict_xstart", "predict_x0", "predict_v")
"""The same as a yes or no."""
NOISE = ("noise", "hybrid", "eps", "epsilon", "pred_noise", "noise_pred")
"""Names of objectives that are supported."""


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about the weights; None: as the file has it, else as published.

    Attributes:
        variant: the listed variant that they should be.
        network: the network that they should be, including its input.
        where: what names variant or network, for messages.
        heads: attention heads, which no tensor tells.
        time_map: ``latent`` or ``pixel``.
        input_size: H = W of the input, which diffusers' tensors do not tell.
        schedule: of the noise.
        classes: number of classes, without "no class".
        objective: that of the run that ``where`` names.
        like: a network with the same heads, used if nothing else tells them.
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
    like: NetworkConfig | None = None

    @classmethod
    def of(cls, variant: str | None = None, **told: Any) -> Self:
        """Options as a command has them.

        Args:
            variant: name of a listed variant, or of a run; None: any network.
            told: the numbers and names among the attributes.

        Raises:
            DimrError: an unknown variant or run, or a run without a network.
        """
        if variant is None or "/" not in variant:
            return cls(variant=PROJECT.variant(variant) if variant else None, **told)
        run = PROJECT.run(variant)
        if run.network is None:
            raise DimrError(f"--variant: run {run.name} has no network")
        objective = run.recipe.train.objective if run.weights is None else None
        return cls(network=run.network, where=run.name, objective=objective, **told)

    @property
    def wanted(self) -> dict[str, Any]:
        """The sizes that the network should have; for a run, also noise schedule and objective."""
        if self.network:
            return {**self.network.model_dump(mode="json"), "objective": self.objective}
        return listed_sizes(self.variant) if self.variant else {}


class Statement(NamedTuple):
    """That a size or setting (``key``) has a value, and who says so."""

    key: str
    value: Any
    who: str


class Noise(NamedTuple):
    """How weights were trained.

    Attributes:
        schedule: of the noise.
        schedule_from: who says so.
        objective: ``noise`` or ``hybrid``; None: not known.
        untold: what must be stated before the weights can be used, one line; empty: nothing.
    """

    schedule: str
    schedule_from: str
    objective: str | None
    untold: str = ""


class Told:
    """What is stated about weights, and by whom: ``statements``, the user's first.

    Methods take the ``sizes`` that tensors tell, and the variant that has these sizes, heads aside
    (``listed``). They raise ``DimrError``, with the file's name, if two statements disagree.

    Args:
        info: of the file.
        options: of the user.
    """

    def __init__(self, info: CheckpointInfo, options: ImportOptions) -> None:
        self.info, self.options = info, options
        self.statements = [one for one in self._said() if one.value is not None]

    def _said(self) -> Iterator[Statement]:
        options, config = self.options, self.info.config
        for key in FLAGS:
            yield Statement(key, getattr(options, key), f"--{key.replace('_', '-')}")
        for theirs, key in DIFFUSERS_SIZES.items():
            yield Statement(key, config.get(theirs), f"config.json: {theirs}")
        heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
        if heads and width:
            yield Statement("dim", heads * width, f"config.json: {heads} heads of {width}")
        for key, value in options.wanted.items():
            yield Statement(key, value, options.where)
        for key, value in self.info.recorded.items():
            yield Statement(key, value, RECORDED)

    def agreed(self, key: str, *more: Statement) -> tuple[Any, str] | None:
        """The value of ``key`` and who states it first; None: nobody does."""
        said = [(one.value, one.who) for one in (*more, *self.statements) if one.key == key]
        if any(value != said[0][0] for value, _ in said):
            each = ", ".join(f"{value} ({who})" for value, who in said)
            raise DimrError(f"{self.info.file}: {key}: {each}: which?")
        return said[0] if said else None

    def check(self, sizes: dict[str, Any], listed: Variant | None) -> dict[str, Any]:
        """Compare sizes with all that is stated about them.

        Returns:
            The sizes, as stated where tensors leave a choice (an even number of layers, the tokens
            of a DiMR's text).
        """
        file, options, built = self.info.file, self.options, as_built(sizes)
        for key, value, who in self.statements:
            if who != options.where and (difference := differences(built, {key: value})):
                raise DimrError(f"{file}: {difference} ({who})")
        if difference := differences(built, as_built(options.wanted)):
            found = listed.name if listed else "a network of no listed variant"
            known = options.variant or find_listed(options.wanted)
            name = known.name if known else "its network"
            other = "but not as in" if found == name else f"not {name} of"
            raise DimrError(f"{file}: holds {found}, {other} {options.where}: {difference}")
        left = {"layers", "text_tokens"} if "text_dim" in sizes else {"layers"}
        return sizes | {one.key: one.value for one in self.statements if one.key in left}

    def heads(self, sizes: Mapping[str, Any], listed: Variant | None) -> tuple[int, str]:
        """The number of heads, and who states it; that nobody does is an error, too."""
        file, width = self.info.file, width_of(sizes)
        found = self.agreed("heads")
        if found is None and listed:
            found = listed.sizes["heads"], f"as {listed.name} has"
        if found is None and (like := self.options.like) and like.family == sizes["family"]:
            found = like.sizes.arguments()["heads"], "as the network that starts from it"
        if found is None and (published := FORMATS[sizes["family"]].heads(width)):
            found = published, f"as published for width {width}; --heads N if not"
        if found is None:
            raise DimrError(f"{file}: no tensor tells the heads of width {width}: give --heads")
        heads, who = found
        if width % heads:
            raise DimrError(f"{file}: width {width} cannot be split into {heads} heads ({who})")
        return heads, who

    def labels(self, sizes: Mapping[str, Any], listed: Variant | None) -> dict[str, Any]:
        """``num_classes`` and ``has_null_label`` of a U-ViT; nothing for the other families.

        Tensors tell how many labels there are. DiT and DiMR always have one for "no class". For a
        U-ViT the user or the file states it, or the published variant with its 1,000 classes; else
        it is as its authors have it: latent models with such a label, pixel models without.
        """
        file, classes = self.info.file, self.options.classes
        if "text_dim" in sizes:
            if classes is not None:
                raise DimrError(f"{file}: a network of text, without classes; --classes {classes}")
            return {}
        null = sizes.get("has_null_label")
        labels = sizes["num_classes"] + (null is not False)
        allowed = (labels - 1,) if null is None else (labels - 1, labels)
        if classes is not None and classes not in allowed:
            known = " or ".join(map(str, allowed))
            raise DimrError(f"{file}: has {labels} labels, so {known} classes; --classes {classes}")
        if null is None:
            if self.info.settings.get("num_classes") == labels:
                raise DimrError(
                    f"{file}: its trainer's settings say {labels} classes, and it has {labels} "
                    'labels: none is for "no class", which a network of this family has here'
                )
            return {}
        own = [Statement("has_null_label", classes < labels, "--classes")] if classes else []
        published = listed.published_input.get("num_classes") if listed else None
        if found := self.agreed("has_null_label", *own):
            null = found[0]
        elif published in allowed:
            null = published < labels
        return {"has_null_label": null, "num_classes": labels - null}

    # --- noise ------------------------------------------------------------------------------------

    def noise(self, form: Format, sizes: Mapping[str, Any]) -> Noise:
        """Noise schedule and objective of a network whose tensors have the names of ``form``."""
        found = self.agreed("schedule") or self._published_schedule(form, sizes)
        if found is None:
            own = "linear" if sizes["family"] == "dit" else sizes["time_map"]
            return Noise(own, "", None, _question(sizes))
        schedule, who = found
        objective: str | None = "noise"
        if said := self.agreed("objective"):
            objective = said[0]
        elif sizes.get("learn_sigma"):  # DiT's authors trained with the linear schedule, and hybrid
            objective = "hybrid" if schedule == "linear" else None
        return Noise(schedule, who, objective)

    def _published_schedule(self, form: Format, sizes: Mapping[str, Any]) -> tuple[str, str] | None:
        """The one of all weights published under these names; None: they differ."""
        if form.name == "diffusers-dit":
            return "linear", "as DiT's authors have it"
        if form.name == "dit":
            said = self.info.settings
            is_dits = str(said.get("model")).startswith("DiT-")
            is_linear = said.get("noise_schedule", "linear") == "linear"
            return ("linear", "DiT's trainer has no other") if is_dits and is_linear else None
        if sizes["channels"] in PUBLISHED_CHANNELS:
            return sizes["time_map"], f"as published for {sizes['channels']} channels"
        time_map = self.agreed("time_map")
        return (time_map[0], "as the time map") if time_map else None

    def refuse_other_objectives(self, form: Format) -> None:
        """Refuse weights whose trainer's settings say that they predict something other than noise.

        The message names the setting.
        """
        said = self.info.settings
        signs = [key for key in OF_SIT if key in said] if form.name == "dit" else []
        if form.name == "dit" and str(said.get("model")).startswith("SiT"):
            signs.insert(0, "model")
        signs += [key for key, value in said.items() if _is_other_objective(key, value)]
        if signs:
            raise DimrError(
                f"{self.info.file}: its trainer's settings say {shown(signs[0])} "
                f"{str(said[signs[0]])[:40]!r}, as SiT's and others do: objective not supported "
                "(allowed: noise, hybrid)"
            )


def _is_other_objective(key: str, value: Any) -> bool:
    """Whether a setting, however deep, says that something other than noise is predicted."""
    name = key.rpartition(".")[2]
    if name in PREDICTS:
        return isinstance(value, str) and value not in NOISE
    return name in PREDICTS_OTHER and value is True


def _question(sizes: Mapping[str, Any]) -> str:
    if sizes["family"] == "dit":
        return (
            "no tensor tells noise schedule and objective, and SiT's weights have the same names: "
            "give --schedule linear for the weights of DiT's authors, else --schedule latent or "
            "pixel, --variant RUN or --config"
        )
    return (
        f"no tensor tells time map and noise schedule of {sizes['channels']} channels: give "
        "--time-map and --schedule (latent or pixel), --variant RUN or --config"
    )


def as_built(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes with a U-ViT's ``final_conv`` made explicit: whether it ends in a convolution."""
    if sizes.get("family") != "uvit" or "time_map" not in sizes:
        return dict(sizes)
    return {**sizes, "final_conv": ends_in_convolution(sizes["time_map"], sizes.get("final_conv"))}
