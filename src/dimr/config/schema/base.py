"""What all sections of the configuration share: their base class, and numbers with limits."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Limits are far above what anybody uses: a number beyond them is a typing mistake, and would keep a
# machine busy for minutes before it failed.
Positive = Annotated[int, Field(gt=0, le=10**10)]
Count = Annotated[int, Field(gt=0, le=10**7)]
"""How many images, of samples or of a shard."""
Batch = Annotated[int, Field(gt=0, le=10**5)]
"""Images at a time."""
Width = Annotated[int, Field(gt=0, le=65_536)]
"""A size of a network or of an image."""
Depth = Annotated[int, Field(gt=0, le=1_000)]
"""Layers of a network."""
MOST_CLASSES = 10**6
NumClasses = Annotated[int, Field(gt=0, le=MOST_CLASSES)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, lt=1)]
LARGEST = 1e30
"""Largest number that is stored as float32 (up to 3e38): torch refuses others with a traceback."""
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
PositiveFloat = Annotated[float, Field(gt=0, le=LARGEST)]


class ConfigModel(BaseModel):
    """A part of the configuration: frozen, strictly typed, unknown keys refused.

    A key that Python reserves (``from``) is a field's alias: files have it, code the field's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)


def repeated(values: Sequence[str]) -> str | None:
    """The first value that is listed more than once."""
    return next((value for value in values if values.count(value) > 1), None)
