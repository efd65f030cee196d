"""Kinds of lives: which faults come how often, per step of the world.

Example:
    >>> KINDS["quiet"].loss, KINDS["lossy"].loss
    (0.0, 0.15)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How often a fault comes in a kind of life, per step of the world."""

    loss: float = 0.0
    line_loss: float = 0.0
    agent_dies: float = 0.0
    watchdog: float = 0.0
    cut: float = 0.0
    cut_in_call: float = 0.0
    away: float = 0.0
    gate_away: float = 0.0
    clock: float = 0.0
    disk: float = 0.0
    is_lonely: bool = False
    restores: bool = False
    lies: bool = False
    forges: float = 0.0
    spoils: bool = False


KINDS: dict[str, Kind] = {
    "quiet": Kind(),
    "lossy": Kind(loss=0.15, line_loss=0.05),
    "crashing": Kind(loss=0.05, agent_dies=0.02, watchdog=0.004, disk=0.004),
    "power cuts": Kind(cut=0.004, cut_in_call=0.02),
    "away": Kind(away=0.01, gate_away=0.01, loss=0.05),
    "clock": Kind(clock=0.02, loss=0.05, watchdog=0.002),
    "lonely": Kind(is_lonely=True, cut=0.001, cut_in_call=0.004),
    "old image": Kind(restores=True, cut=0.002),
    "forger": Kind(forges=0.05, loss=0.05),
    "liar": Kind(lies=True, forges=0.02),
    "spoilt": Kind(spoils=True, watchdog=0.02, loss=0.05),
    "everything": Kind(
        loss=0.1, line_loss=0.05, agent_dies=0.01, watchdog=0.003, cut=0.002, cut_in_call=0.01, away=0.005,
        gate_away=0.005, clock=0.005, disk=0.003, forges=0.02,
    ),
}  # fmt: skip
