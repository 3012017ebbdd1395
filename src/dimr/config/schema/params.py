"""Sections of params.yaml, and the schemas, for editors, of all files that people edit."""

from typing import Any

from pydantic import Field, TypeAdapter, create_model

from dimr.config.schema.base import ConfigModel, Seed
from dimr.config.schema.data import Source
from dimr.config.schema.networks import AnyVariant
from dimr.config.schema.runs import Evaluate, Recipe, Sample, SamplingConfig, Train


class ModelChoice(ConfigModel):
    """The network of the workspace run; the dataset says the number of branches."""

    family: str
    variant: str


def _overrides(section: type[ConfigModel], **nested: Any) -> Any:
    """The section with every key optional: null means what the recipe says."""
    keys: Any = {
        name: (
            nested.get(name, field.rebuild_annotation()) | None,
            Field(default=None, alias=field.alias),
        )
        for name, field in section.model_fields.items()
    }
    return create_model(f"{section.__name__}Overrides", __base__=ConfigModel, **keys)


TrainOverrides = _overrides(Train)
SettingOverrides = _overrides(SamplingConfig)
SampleOverrides = _overrides(
    Sample,
    settings=dict[str, SettingOverrides | None],  # type: ignore[valid-type]
)
EvaluateOverrides = _overrides(Evaluate)


class Params(ConfigModel):
    """params.yaml: null means what the dataset's recipe says."""

    dataset: str
    model: ModelChoice
    seed: Seed
    train: TrainOverrides  # type: ignore[valid-type]
    sample: SampleOverrides  # type: ignore[valid-type]
    evaluate: EvaluateOverrides  # type: ignore[valid-type]


SCHEMAS: dict[str, Any] = {
    "params": TypeAdapter(Params),
    "recipes": TypeAdapter(dict[str, Recipe]),
    "sources": TypeAdapter(dict[str, Source]),
    "variants": TypeAdapter(dict[str, dict[str, dict[int, AnyVariant]]]),
}
"""The files that people edit; ``.json_schema()`` of each, for editors, is in workflow/schemas."""
