"""Which notices of an episode count, on how many channels, and since when.

Rules (README §1.13; episode: README §2.1): a channel counts from the moment its notice was delivered or
served, as the pack allows for that channel; queued or sent never counts, and a bounce takes back what stood
before it. A notice dated in the future does not count yet. The first notice that counts fixes the episode,
which lives 30 days from then.

This module reads no message and judges no loan.

Example:
    >>> counted_since([], NoticeType.FINAL, pack, now_s=0)
    {}
"""

from collections.abc import Iterable

from backend.gate.pack import Pack
from protocol.loan_facts import Channel, Delivery, Notice, NoticeType


def of_episode(notices: Iterable[Notice], episode: bytes) -> list[Notice]:
    """Return the notices that carry an episode."""
    return [notice for notice in notices if notice.episode == episode]


def counted_since(
    notices: Iterable[Notice], kind: NoticeType, pack: Pack, *, now_s: int
) -> dict[Channel, int]:
    """Return the channels on which notices of a type count, and since when each does.

    Args:
        notices: of one episode, in any order.
        kind: first or final.
        pack: says what counts on a channel.
        now_s: notices later than this are left out.
    """
    since: dict[Channel, int] = {}
    for notice in sorted(notices, key=lambda at: (at.at_s, at.state is Delivery.BOUNCED)):
        if notice.type is not kind or notice.at_s > now_s:
            continue
        if notice.state is Delivery.BOUNCED:
            since.pop(notice.channel, None)
        elif _counts(notice, pack):
            since.setdefault(notice.channel, notice.at_s)
    return since


def complete_at(since: dict[Channel, int], channels: int) -> int | None:
    """Return when the last of so many channels began to count; None while there are fewer."""
    times = sorted(since.values())
    return times[channels - 1] if 0 < channels <= len(times) else None


def begun_at(notices: Iterable[Notice], pack: Pack, *, now_s: int) -> int | None:
    """Return when the first notice that counts, of either type, began to count; None while none does."""
    known = list(notices)
    times = [at for kind in NoticeType for at in counted_since(known, kind, pack, now_s=now_s).values()]
    return min(times) if times else None


def _counts(notice: Notice, pack: Pack) -> bool:
    is_there = Delivery.counts(notice.state) and notice.state in pack.channels.get(notice.channel, ())
    needs_codes = pack.codes_in_notice and notice.type is NoticeType.FINAL
    return is_there and (notice.has_codes or not needs_codes)
