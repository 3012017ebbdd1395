"""The model card of a pipeline: written wherever it is saved or pushed to the hub."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dimr.checkpoints.model_card import Card, pipeline_use, write_card
from dimr.config.variants import check_network
from dimr.runtime.record import CARD


class WithCard:
    """A base class for pipelines, to be listed before diffusers'.

    Attributes:
        card: what is known about the weights; None: only the pipeline itself.
    """

    card: Card | None = None
    model: Any
    config: Any

    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **options: Any) -> None:
        """As in diffusers, plus the model card; an edited one is kept."""
        super().save_pretrained(save_directory, *arguments, **options)  # type: ignore[misc]
        if not options.get("push_to_hub"):  # otherwise it is already written, and pushed
            self._write_card(Path(save_directory), "PATH/OF/THIS/FOLDER")

    def _upload_folder(self, working_dir: str | Path, repo_id: str, **options: Any) -> Any:
        """The folder, with this card in place of diffusers' own."""
        (Path(working_dir) / CARD).unlink(missing_ok=True)
        self._write_card(Path(working_dir), repo_id)
        return super()._upload_folder(working_dir, repo_id, **options)  # type: ignore[misc]

    def _write_card(self, folder: Path, place: str) -> None:
        card = self.card or Card(
            check_network(dict(self.model.config), str(folder)),
            class_names=list((self.config.get("id2label") or {}).values()),
            text_encoder=self.config.get("text_encoder"),
        )
        write_card(folder / CARD, replace(card, use=pipeline_use(place)))
