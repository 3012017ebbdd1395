"""Grids of samples that show how a training is doing."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dimr.config.schema import SampleConfig, TrainConfig
from dimr.data.classes import evenly_spaced
from dimr.runtime.files import save_png

if TYPE_CHECKING:
    from dimr.sampling.sampler import Prompts

log = logging.getLogger(__name__)

STEPS = 25
"""Network evaluations of a preview: it is for looking, not for measuring."""
GUIDANCE = 3.0
"""Likewise its guidance, that of DiT's sample pictures (4.0 there, which counts from 1)."""
COLUMNS = 6
ROWS = 10
"""How many classes (evenly spaced) or prompts (the first) are shown: the other GPUs would wait for
minutes while a thousand are drawn."""


def make_previewer(
    config: TrainConfig,
    autoencoder: Path,
    folder: Path,
    device: torch.device,
    class_names: Sequence[str],
    prompts: tuple[Sequence[str], "Prompts"] | None = None,
) -> Callable[[int, nn.Module], None]:
    """A function (step, network) that writes ``folder/step-<n>.png``: 6 images of each class.

    At most ``ROWS`` classes are shown; for a network of text, prompts instead. They are drawn by
    the authors' solver, with ``GUIDANCE`` if the network learns both with and without labels.

    Args:
        config: of the training.
        autoencoder: decodes latents (``dimr.data.decoder``).
        folder: of the grids.
        device: where the network is.
        class_names: by label.
        prompts: for a network of text: P texts, and their tokens (P, L, D).
    """
    known = {0.0: "none", 1.0: "unconditional"}  # what is learned with this label dropout
    names, classes = class_names, config.network.num_classes
    condition, kind = None, "class"
    if prompts is not None:
        texts, condition = prompts
        names, condition, kind = texts[:ROWS], condition[:ROWS], "text"
        classes = len(names)
    sampling = SampleConfig.model_validate({
        "seed": config.seed, "count": COLUMNS * classes, "steps": STEPS, "solver": "authors",
        "guidance": {"kind": known.get(config.train.label_dropout, "constant"), "scale": GUIDANCE},
    })  # fmt: skip
    shown = evenly_spaced(classes, ROWS)
    indices = [k * classes + label for k in range(COLUMNS) for label in shown]

    def preview(step: int, network: Any) -> None:
        import numpy as np

        from dimr.data.autoencoder import load_decoder
        from dimr.sampling.grid import class_grid, heading
        from dimr.sampling.sampler import Sampler, in_batches

        decoder = load_decoder(autoencoder, str(device))
        sampler = Sampler(network, config.network, sampling, decoder, device, condition)
        batches = sampler.draw(in_batches(indices, 250))
        images, rows = np.concatenate(list(batches)), np.arange(len(indices)) % len(shown)
        headings = [heading(names, label, kind) for label in shown]
        grid = class_grid(images, rows, headings, columns=COLUMNS)
        picture = folder / f"step-{step:09d}.png"
        save_png(grid, picture)
        log.info("what it draws after %d steps: %s", step, picture)

    return preview
