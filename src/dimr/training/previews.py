"""Grids of samples while a network trains: to look at, not to measure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dimr.config.schema import SampleConfig, TrainConfig
from dimr.runtime.files import save_png

STEPS = 25
"""Network evaluations of a preview."""
COLUMNS = 6
CLASSES = 10
"""Rows at most: while a thousand classes are drawn, the other GPUs would wait for minutes."""


def make_previewer(
    config: TrainConfig, autoencoder: Path, folder: Path, device: Any
) -> Callable[[int, Any], None]:
    """A function (step, network) that writes ``step-<step>.png``, with guidance 0.5.

    Args:
        config: of the training.
        autoencoder: its folder.
        folder: where grids are written.
        device: of the network.
    """

    def preview(step: int, network: Any) -> None:
        import numpy as np

        from dimr.data.decoder import load_decoder
        from dimr.sampling.generate import generate
        from dimr.sampling.grid import class_grid

        classes = config.network.num_classes
        known = {0.0: "none", 1.0: "unconditional"}  # what a model learned with such label dropout
        guidance = {"kind": known.get(config.train.label_dropout, "constant"), "scale": 0.5}
        drawing = SampleConfig.model_validate({
            "seed": config.seed, "count": COLUMNS * classes, "steps": STEPS,
            "solver": "authors", "guidance": guidance,
        })  # fmt: skip
        shown = min(classes, CLASSES)
        numbers = [k * classes + label for k in range(COLUMNS) for label in range(shown)]
        batches = generate(
            network,
            config.network,
            drawing,
            load_decoder(autoencoder, str(device)),
            batch=250,
            device=device,
            indices=numbers,
        )
        images, labels = np.concatenate(list(batches)), np.array(numbers) % classes
        picture = class_grid(images, labels, list(map(str, range(shown))), columns=COLUMNS)
        save_png(picture, folder / f"step-{step:09d}.png")

    return preview
