"""The networks and their sampling as diffusers classes: ``DiMRModel`` and ``DiMRPipeline``.

Importing this imports diffusers (10 s); ``dimr.DiMRModel`` and ``dimr.DiMRPipeline`` do on use.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from diffusers import (
    AutoencoderKL,
    ConfigMixin,
    DiffusionPipeline,
    ImagePipelineOutput,
    ModelMixin,
    SchedulerMixin,
)
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from dimr.checkpoints.model_card import Card
from dimr.config.variants import check_network
from dimr.data.autoencoder import to_uint8
from dimr.data.classes import class_names
from dimr.data.text.encoders import TextEncoder
from dimr.diffusion.guidance import wrap
from dimr.diffusion.sampler import integrate
from dimr.diffusion.solver import AncestralSampler, AuthorsDPMSolver, place_steps
from dimr.models import build
from dimr.models.base import Network
from dimr.models.conditioning import Condition, LabelCondition, TextCondition
from dimr.runtime.device import usable_device
from dimr.runtime.errors import DimrError
from dimr.sampling.model import load_network, names_of_classes, open_decoder, own_solver
from dimr.sampling.pipeline_arguments import (
    check_noise,
    check_output,
    check_scheduler,
    class_numbers,
    guidance_of,
    names_by_label,
)
from dimr.sampling.pipeline_card import WithCard
from dimr.sampling.pipeline_text import EncoderInUse, NoSuchText, Texts
from dimr.sampling.prompts import kind_of, open_encoder

Generators = torch.Generator | list[torch.Generator] | None


class DiMRModel(ModelMixin, ConfigMixin):
    """A network of any family (``dimr``, ``uvit``, ``dit``) as a diffusers model.

    ``from_pretrained`` reads and ``save_pretrained`` writes the ``model/`` folder of a run: the
    weights have the plain network's names, and config.json is what ``dimr train`` writes, plus
    diffusers' own keys.

    Args:
        config: the content of config.json: ``family``, ``schedule`` and the network's sizes.

    Attributes:
        network: the plain network, which shares all weights with this module.

    Raises:
        DimrError: a key that is unknown, missing or has a wrong value.
    """

    network: Network

    def __init__(self, **config: Any) -> None:
        super().__init__()
        settings = check_network(config, type(self).__name__)
        self.register_to_config(**settings.model_dump(mode="json"))
        network = build(settings.sizes)
        # Fixed embeddings are made in float32, whatever dtype diffusers builds the weights in.
        self._adopt(network.to(torch.get_default_dtype()))

    def _adopt(self, network: Network) -> None:
        """Share the network's registries: names then have no prefix, and both have the same layers.

        As an attribute of this module it would be a submodule, hence the detour.
        """
        self.__dict__["network"] = network
        for registry in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[registry] = network.__dict__[registry]

    def __getattr__(self, name: str) -> Any:
        # diffusers' own would find a size of the same name (``patch``) in place of the layer
        return torch.nn.Module.__getattr__(self, name)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``dimr.models.Network.forward``: predictions, from the lowest resolution up."""
        return self.network(x, t, condition)

    @classmethod
    def from_network(cls, network: Network, schedule: str) -> "DiMRModel":
        """A plain network, which keeps its weights, as such a model.

        Args:
            network: any; it and the model share their weights.
            schedule: of the noise it was trained with: ``latent``, ``pixel`` or ``linear``.
        """
        with torch.device("meta"):
            model = cls(family=network.family, schedule=schedule, **network.sizes.arguments())
        model._adopt(network)
        return model.train(network.training)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], return_unused_kwargs: bool = False, **changes: Any
    ) -> Any:
        """A model with fresh weights; every key is checked, none is left unused."""
        model = cls(**{**config, **changes})
        return (model, {}) if return_unused_kwargs else model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **options: Any) -> Any:
        """As in diffusers, but only safetensors, and only weights that fit the sizes one to one.

        Raises:
            DimrError: config.json or the weights' names do not fit (diffusers would warn, and
                continue with random weights).
            OSError: no such folder, or not reachable on the hub.
        """
        wants_info = options.pop("output_loading_info", False)
        options["use_safetensors"] = True
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, output_loading_info=True, **options
        )
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[problem]:
                first = min(map(str, info[problem]))
                name = pretrained_model_name_or_path
                raise DimrError(f"{name}: weights of another network ({problem}: {first})")
        return (model, info) if wants_info else model


class DiMRPipeline(WithCard, DiffusionPipeline):
    """Images from class labels or texts, with the network, its scheduler and its autoencoder.

    Args:
        model: the network.
        scheduler: any diffusers scheduler for noise predictions; ``AuthorsDPMSolver`` is the
            authors'. Others are best made by ``from_config(pipe.scheduler.config)``.
        vae: the autoencoder of a latent model; None: the network sees pixels in [-1, 1].
        id2label: names of the classes by label, as in diffusers' own ``DiTPipeline``, kept in
            model_index.json; None: not known, see ``class_names``.
        text_encoder: for a model trained on text, or its description, which model_index.json
            holds: a pretrained one is fetched from the hub when a text needs it.

    Raises:
        ValueError: ``id2label`` is not one name for each of the model's classes; an encoder for a
            model of classes.
        DimrError: an encoder whose texts the model does not take.
    """

    model_cpu_offload_seq = "model->vae"
    _optional_components = ["vae"]  # noqa: RUF012, diffusers' own way to say so
    _names: list[str] | None = None
    _encoder: EncoderInUse | None = None

    def __init__(
        self,
        model: DiMRModel,
        scheduler: SchedulerMixin,
        vae: AutoencoderKL | None = None,
        id2label: Mapping[Any, str] | None = None,
        text_encoder: TextEncoder | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler, vae=vae)
        if id2label is not None:
            self._names = names_by_label(id2label, model.config.num_classes)
            self.register_to_config(id2label={str(n): name for n, name in enumerate(self._names)})
        if text_encoder is not None:
            self._encoder = EncoderInUse(text_encoder)
            self._encoder.check(model.network.sizes)
            self.register_to_config(text_encoder=self._encoder.description)

    @classmethod
    def from_run(
        cls,
        model_folder: str | Path,
        vae: str | Path | None = None,
        device: str = "cpu",
        text_encoder: str | Path | None = None,
    ) -> "DiMRPipeline":
        """The pipeline of a run's ``model/`` folder, with its authors' solver.

        Args:
            model_folder: ``runs/<run>/model``.
            vae: folder or hub name of the autoencoder; None: that of the run's dataset
                (found as in ``dimr.sampling.model.open_decoder``).
            device: where to compute.
            text_encoder: like ``vae``, for a model trained on text (``dimr.sampling.prompts``).

        Raises:
            DimrError: a missing or damaged file; a model of latents, and no autoencoder, or of
                text, and no encoder; a device that is not available.
        """
        folder, chosen = Path(model_folder), usable_device(device, "device")
        network, config = load_network(folder)
        known: dict[str, Any] = {}
        if kind_of(config) == "text":
            known["text_encoder"] = open_encoder(folder, config, text_encoder, chosen)
        else:
            known["id2label"] = dict(enumerate(names_of_classes(folder, config)))
        solver = AncestralSampler if own_solver(config) == "ancestral" else AuthorsDPMSolver
        pipeline = cls(
            model=DiMRModel.from_network(network, config.schedule),
            scheduler=solver(config.schedule),
            vae=open_decoder(folder, config, vae).vae,
            **known,
        ).to(chosen)
        pipeline.card = Card.of(folder)
        return pipeline

    @classmethod
    def download(cls, pretrained_model_name: str, **options: Any) -> str:
        """Fetch a saved pipeline from the hub; diffusers' own refuses classes of other packages."""
        names = ("cache_dir", "force_download", "local_files_only", "revision", "token")
        known = {name: options[name] for name in names if options.get(name) is not None}
        known["allow_patterns"] = ["*.json", "*.safetensors"]
        return huggingface_hub.snapshot_download(pretrained_model_name, **known)

    @property
    def class_names(self) -> list[str]:
        """The classes' names by label: ``id2label``, else ``dimr.data.classes.class_names``."""
        return list(self._names or class_names(self.model.config.num_classes))

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | str | Iterable[int | str] | None = None,
        guidance_scale: float = 1.0,
        guidance_power: float | None = None,
        guided_channels: int | None = None,
        num_inference_steps: int = 50,
        generator: Generators = None,
        *,
        prompt: str | Iterable[str] | None = None,
        negative_prompt: str | Iterable[str] | None = None,
        num_images_per_prompt: int | None = None,
        prompt_embeds: TextCondition | Tensor | None = None,
        negative_prompt_embeds: TextCondition | Tensor | None = None,
        num_images: int | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Draw images.

        Args:
            class_labels: one for each image: a number, or a text that means a class (a name, see
                ``dimr.data.classes.class_index``); None: ``num_images`` images without a class.
            guidance_scale: s in eps = uncond + s (cond - uncond); 1: no guidance, and no second
                pass. U-ViT's papers call s - 1 the scale.
            guidance_power: a of the power-cosine weight, which rises from 1 to s
                (``dimr.diffusion.power_cosine_scale``); None: s throughout.
            guided_channels: only this many, the first, are guided; None: all, but 3 of 4 with
                ``AncestralSampler``, as in DiT.
            num_inference_steps: network evaluations, each of two passes with guidance.
            generator: of the noise: one for all, or a list with one for each image.
            prompt: for a model trained on text, in place of ``class_labels``: one or several.
            negative_prompt: one, what guidance leads away from in place of the empty text.
            num_images_per_prompt: images of each prompt, one after the other; None: 1.
            prompt_embeds: in place of ``prompt``, the encoder's output for P texts: a condition,
                or tokens (P, L, D), all of which are seen.
            negative_prompt_embeds: likewise, for one text.
            num_images: how many images without a class or text.
            latents: the noise itself, (images, C, H, W), standard normal; taken as float32.
            output_type: ``pil``; ``np``, (N, H, W, 3) float32 in [0, 1]; ``pt``, (N, 3, H, W) in
                [0, 1]; or ``latent``, what the solver ends with, (N, C, H, W).
            return_dict: whether to return an ``ImagePipelineOutput`` or a tuple.

        Raises:
            ValueError: an argument that is not allowed, or does not fit the others; images that are
                not finite; one line.
            NoSuchClass: a label that means no class; it is a ``ValueError`` and a ``DimrError``.
            NoSuchText: likewise, a text that the encoder does not take.
        """
        config, device = self.model.config, self._execution_device
        texts = Texts(
            prompt, negative_prompt, num_images_per_prompt, prompt_embeds, negative_prompt_embeds
        )
        is_text = config.get("text_dim") is not None
        texts.check_kind(is_text, class_labels)
        labelled = class_labels is not None or texts.are_given
        steps = check_scheduler(self.scheduler, config.get("schedule"), num_inference_steps)
        given = guidance_scale, guidance_power, guided_channels
        guidance = guidance_of(config, self.scheduler, labelled, *given)
        condition: Condition
        if is_text:
            of = self.model.network.sizes, self._open_encoder
            condition = texts.condition(*of, num_images, guidance["kind"])
        else:
            labels = class_numbers(class_labels, num_images, config.num_classes, self._names)
            condition = LabelCondition(torch.tensor(labels), config.num_classes)
        shape = (len(condition), config.channels, config.input_size, config.input_size)
        check_noise(generator, latents, shape)
        check_output(output_type, config, self.vae)
        condition = condition.to(device)
        if latents is None:
            latents = randn_tensor(shape, generator, device, torch.float32)
        scheduler, dtype = place_steps(self.scheduler, steps), self.model.dtype

        def network(x: Tensor, t: Tensor, condition: Condition) -> list[Tensor]:
            # in its own dtype, for a solver that stays in float32
            return [self.model(x.to(dtype), t, condition)[-1].to(x.dtype)]

        with self.progress_bar(total=len(scheduler.timesteps)) as bar:
            x = integrate(
                wrap(network, condition, **guidance),
                latents.to(device, torch.float32).contiguous(),
                scheduler,
                generator=generator,
                on_step=bar.update,
            )
        images = self._images(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _open_encoder(self) -> TextEncoder:
        if self._encoder is None:
            raise NoSuchText("no text_encoder: give prompt_embeds (guided: negative ones too)")
        return self._encoder.open(self._execution_device)

    def _images(self, x: Tensor, output_type: str) -> Any:
        """Solver output (N, C, H, W) in the requested form."""
        _check_finite(x, "the solver")
        if output_type == "latent":
            return x
        if self.vae is not None:
            x = self.vae.decode((x / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
            _check_finite(x, "the autoencoder")
        if output_type == "pil":
            return [Image.fromarray(image) for image in to_uint8(x)]
        x = (x.float() / 2 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)  # grey as three equal ones
        return x if output_type == "pt" else x.permute(0, 2, 3, 1).cpu().numpy()


def _check_finite(x: Tensor, who: str) -> None:
    if not torch.isfinite(x).all():
        raise ValueError(
            f"{who} ends with NaN or infinity: are the weights damaged, the guidance too strong, "
            "or the numbers too large for half precision?"
        )
