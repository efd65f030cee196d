"""Two slots that survive a power cut at any byte: the newest whole one counts.

Rules: a slot is magic, generation, length, body, SHA-256 over all before it. A write goes to the slot that is
not the newest whole one, so that whatever is torn, the one before stands; it is read back, and only then has
it happened. Generations only rise. A device whose slots hold something and nothing whole has lost its state;
one that never finished its first write is empty, because the second write is the first to touch slot 1.

Neither secrecy nor authenticity: whoever can write the board's flash can restore an old image, and what that
cannot do is the caller's business (docs/adr/0042). It has no annotations, see `strict_cbor`.

Example:
    >>> class Flash:
    ...     slots = [None, None]
    ...     def slot_read(self, index): return self.slots[index]
    ...     def slot_write(self, index, data): self.slots[index] = data
    >>> store = Store(Flash())
    >>> store.load(), store.save(b"body"), Store(store.board).load()
    (('EMPTY', None), True, ('WHOLE', b'body'))
"""

import hashlib

SLOT_BYTES_MAX = 24_576  # six sectors of 4 KiB: 64 revocations of each root and a full ring of dispositions

EMPTY, WHOLE, LOST = "EMPTY", "WHOLE", "LOST"

_MAGIC = b"TBX1"
_HEAD = 12  # magic, generation u32, length u32
_HASH = 32


class Store:
    """The slots of a board.

    Attributes: board, generation (of the newest whole slot; 0 before any).
    """

    def __init__(self, board):
        self.board = board
        self.generation = 0
        self._newest = 1  # so that the first write goes to slot 0

    def load(self):
        """Return EMPTY, WHOLE or LOST, and the body of the newest whole slot or None."""
        found = None
        untouched = False
        for index in (0, 1):
            data = self.board.slot_read(index)
            if data is None:
                untouched = True
                continue
            generation, body = _read(data)
            data = None  # a slot's bytes are not in memory beside the next one's
            if body is not None and (found is None or generation > self.generation):
                found, self.generation, self._newest = body, generation, index
        if found is not None:
            return WHOLE, found
        return (EMPTY if untouched else LOST), None

    def save(self, body):
        """Write a body beside the newest; return whether it reads back whole."""
        assert len(body) + _HEAD + _HASH <= SLOT_BYTES_MAX
        index = 1 - self._newest
        generation = self.generation + 1
        head = _MAGIC + generation.to_bytes(4, "big") + len(body).to_bytes(4, "big")
        digest = hashlib.sha256(head)
        digest.update(body)
        digest = digest.digest()
        # One copy in memory at a time: written, dropped, read, and compared by its hash.
        self.board.slot_write(index, b"".join((head, body, digest)))
        if not _is_whole(self.board.slot_read(index), digest):
            return False
        self.generation, self._newest = generation, index
        return True


def _is_whole(data, digest):
    """Return whether a slot holds exactly what has this hash."""
    if data is None or len(data) < _HASH or bytes(data[-_HASH:]) != digest:
        return False
    return hashlib.sha256(memoryview(data)[:-_HASH]).digest() == digest


def _read(data):
    """Return generation and body of a slot, body None when it is not whole."""
    if len(data) < _HEAD + _HASH or bytes(data[:4]) != _MAGIC:
        return 0, None
    length = int.from_bytes(data[8:12], "big")
    end = _HEAD + length
    if length > SLOT_BYTES_MAX or len(data) < end + _HASH:
        return 0, None
    view = memoryview(data)
    if hashlib.sha256(view[:end]).digest() != bytes(view[end : end + _HASH]):
        return 0, None
    return int.from_bytes(data[4:8], "big"), bytes(data[_HEAD:end])
