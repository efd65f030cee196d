"""Which rows are worth keeping (signatures first; the rules follow)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from device.acquisition.decode import DecodedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRule:
    """When a row of one group is kept; any trigger keeps the whole row.

    `dead_bands` maps column number to a band in raw counts; a column in `on_change` triggers on any change.
    """

    keep_all: bool = False
    period_us: int | None = None
    max_interval_us: int | None = None
    dead_bands: Mapping[int, int] = field(default_factory=dict)
    on_change: tuple[int, ...] = ()


class Sampler:
    """Stateful: the last kept row of each group; `rules` by group index, `default` for the others."""

    def __init__(self, rules: Mapping[int, SampleRule], default: SampleRule) -> None: ...

    def select(self, group: DecodedGroup) -> NDArray[np.bool_]:
        """Return bool (n,): the rows to keep; the rest is counted as DropCause.POLICY by the caller (`~mask`.sum())."""
        raise NotImplementedError
