"""What the microcontroller signs: dispositions in a gapless chain, challenges, go requests.

Rules (README §2.12, SPEC §18.9): numbers rise by one within an epoch and each disposition holds the hash of
the one before. A disposition goes out only after the record that holds it is written, and stays in the ring
until the agent has journalled it. When the ring is full the oldest goes, its loss is counted in the record
and shows as a gap of numbers; orders that do not release are not taken then (BUSY), so that there is always
room to say a release. The last message to each order is also a cached blob, so that a repeat can be answered
with it.

This module decides no state. It has no annotations, see `strict_cbor`.

Example:
    >>> RING_MAX - RING_RESERVED
    8
"""

import hashlib

from protocol import cose_sign, orders_payload, strict_cbor

RING_MAX = 12  # dispositions that the agent has not acknowledged
RING_RESERVED = 4  # of them for releases
BLOBS = 64  # as many as cmd_ids are kept

NO_ORDER, NO_HASH = bytes(16), bytes(32)  # cmd_id and cmd_hash of a disposition about no known order


def sign1(kind, fields, key):
    """Return a COSE_Sign1 by D1 over a document's fields."""
    payload = strict_cbor.dumps(fields)
    orders_payload.read_document(kind, payload)  # what is signed is what others read
    return seal(kind, payload, key)


def seal(kind, payload, key):
    """Return a COSE_Sign1 by D1 over a payload as it is."""
    protected = strict_cbor.dumps({cose_sign.ALG: cose_sign.ESP256, cose_sign.KID: key.kid})
    covered = strict_cbor.dumps(["Signature1", protected, cose_sign.external_aad(kind), payload])
    return cose_sign.TAG_SIGN1 + strict_cbor.dumps([protected, {}, payload, key.sign(covered)])


class Replies:
    """The chain of dispositions of a record.

    Attributes: written_seq (the last that a slot holds: none after it leaves).
    """

    def __init__(self, board, key, record):
        self.board, self.key, self.record = board, key, record
        self.written_seq = record.disp_seq

    def has_room(self):
        """Return whether an order that does not release may be answered."""
        return len(self.record.ring) < RING_MAX - RING_RESERVED

    def add(self, fields):
        """Sign a disposition and put it into the record, which the caller then writes.

        Args:
            fields: keys 3, 4, 9 to 20 of it; the chain's keys are added here.

        Returns:
            The message.
        """
        record = self.record
        seq = record.disp_seq + 1
        whole = dict(fields)
        whole.update(
            {1: 1, 2: self.board.random(16), 5: self.key.kid, 6: record.epoch, 7: seq, 8: record.disp_hash}
        )
        message = sign1("disposition", whole, self.key)
        record.disp_seq, record.disp_hash = seq, hashlib.sha256(message).digest()
        if len(record.ring) >= RING_MAX:
            record.ring = record.ring[1:]
            record.ring_lost += 1
        record.ring.append([seq, message])
        record.note(whole[3], whole[9], whole[10], seq)
        return message

    def written(self):
        """Note that the record was written; return what may leave now, kept for repeats as well."""
        found = [pair for pair in self.record.ring if pair[0] > self.written_seq]
        self.written_seq = self.record.disp_seq
        for seq, message in found:
            self.board.blob_write("d%d" % (seq % BLOBS), message)
        return [message for _, message in found]

    def stored(self, entry):
        """Return the message of an entry of `record.done`, or None when it is kept no longer."""
        for seq, message in self.record.ring[: self._written()]:
            if seq == entry[3]:
                return message
        message = self.board.blob_read("d%d" % (entry[3] % BLOBS))
        if message is None or not self._is_own(message, entry):
            return None
        return message

    def _is_own(self, message, entry):
        try:
            payload = cose_sign.read_sign1(message)[2]
            fields = orders_payload.read_document("disposition", payload)
        except ValueError:
            return False
        return fields[6] == self.record.epoch and fields[7] == entry[3] and fields[3] == entry[0]

    def acknowledge(self, upto):
        """Drop what the agent has journalled; return whether anything was dropped."""
        kept = [pair for pair in self.record.ring if pair[0] > min(upto, self.written_seq)]
        is_less = len(kept) < len(self.record.ring)
        self.record.ring = kept
        return is_less

    def since(self, first):
        """Return the messages of the ring from a number, as far as they are written."""
        return [message for seq, message in self.record.ring if first <= seq <= self.written_seq]

    def _written(self):
        return len(self.since(0))
