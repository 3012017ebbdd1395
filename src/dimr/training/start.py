"""A training's start from the weights that ``train.from`` names, in place of fresh ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.checkpoints.start_weights import LABEL, StartWeights, read_start
from dimr.config.schema import NetworkConfig
from dimr.data.classes import class_names, same_classes, short_name
from dimr.training.distributed import World, fill, whole
from dimr.training.train_state import TrainState

log = logging.getLogger(__name__)

NAMED = 10
"""How many classes the log names at most."""


@dataclass(frozen=True)
class Start:
    """Where the weights are, and for which classes they are wanted.

    Attributes:
        name: as ``train.from`` has it.
        path: of the model folder, or the file.
        content: identifies what is in it.
        class_names: of the classes to train on, by label.
    """

    name: str
    path: Path
    content: str
    class_names: Sequence[str]

    def apply(self, state: TrainState, network: NetworkConfig, world: World) -> dict[str, Any]:
        """Put the weights into a freshly initialised network, and into its average.

        All processes call this; the first reports what was taken.

        Returns:
            The same for the model's record, plain JSON.

        Raises:
            DimrError: as ``read_start``; nothing is changed then.
        """
        with world.agreed():
            weights = read_start(self.path, network)
        classes = weights.network.num_classes
        theirs = weights.class_names or (class_names(classes) if classes else [])
        same = same_classes(self.class_names, theirs)
        rows = weights.label_rows(network, same)
        parameters = dict(state.network.named_parameters())
        for name, parameter in parameters.items():
            fresh = whole(parameter) if name.endswith(LABEL) else parameter
            fill(parameter, weights.value(name, fresh, rows))
        for average, parameter in zip(
            state.ema.module.parameters(), parameters.values(), strict=True
        ):
            average.data.copy_(parameter.data)
        facts = self._facts(same, weights.resized(parameters))
        if world.is_first:
            self._tell(facts, weights, network)
        return facts

    def _facts(self, same: Sequence[int | None], positions: list[str]) -> dict[str, Any]:
        named = list(zip(self.class_names, same, strict=True))
        return {
            "from": self.name,
            "content": self.content,
            "kept": [name for name, label in named if label is not None],
            "new": [name for name, label in named if label is None],
            "positions": positions,
        }

    def _tell(self, facts: dict[str, Any], weights: StartWeights, network: NetworkConfig) -> None:
        """A line for each part."""
        kept, new = facts["kept"], facts["new"]
        log.info("starts from %s (content %s)", self.name, self.content)
        if self.class_names:
            log.info(
                "label embedding: %d of %d classes kept by name%s; %d new%s",
                len(kept), len(kept) + len(new), _listed(kept), len(new), _listed(new),
            )  # fmt: skip
        if facts["positions"]:
            log.info("positions %s, bicubic", ", ".join(facts["positions"]))
        if weights.network.schedule != network.schedule:
            schedules = (weights.network.schedule, network.schedule)
            log.info("noise schedule: was trained with %s, is trained with %s", *schedules)


def _listed(names: Sequence[str]) -> str:
    """`` (cat, dog and 3 more)``; empty for none."""
    if not names:
        return ""
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" ({', '.join(map(short_name, names[:NAMED]))}{rest})"
