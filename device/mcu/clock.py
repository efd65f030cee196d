"""What the microcontroller knows of time: its own ticks, and an interval in which UTC lies.

Rules (command-authority §4.8): ticks are the device's own seconds, kept across resets; the coin-cell RTC
measures off-time, and without it off-time is unknown: ticks then stand still and the caller charges the
lease. UTC comes only in signed tokens bound to a nonce of this device, is true at some moment between nonce
and token, and widens with the drift of the crystal afterwards. Nothing the agent says unsigned moves it.

This module decides no order's life. It has no annotations, see `strict_cbor`.

Example:
    >>> clock = Clock()
    >>> clock.learn(100, 104, 50)
    >>> clock.interval(50), clock.interval(10_050), clock.interval(49)
    ((100, 104), (10098, 10106), (None, None))

Source: `protocol.signed_time`; Uptane Standard 2.1.0 §5.3 (nonce-bound time).
"""

from device.mcu import time_keys
from protocol import cose_sign, strict_cbor
from protocol.orders_payload import fits

DRIFT_PPM = 100  # a crystal of 20 ppm, its age, and cold
RTC_PPM = 250  # of a coin-cell RTC in the heat of a parked car
NONCE_S = 60  # a nonce is published so long …
NONCE_LIFE_S = 240  # … and answered so long: the interval stays below 300 s
OFF_S_MAX = 157_680_000  # five years: an RTC that says more is not believed

SIGNED, RTC = 2, 4  # source bits of disposition key 12
_NONCES = 4
_TOKEN = ("map", {1: ("uint", 1, 1), 2: ("bytes", 16, 16), 3: ("uint", 0, (1 << 56) - 1)})  # 3: UTC, µs


class Clock:
    """UTC as an interval; `kept` is what `dump` gave."""

    def __init__(self, kept=None):
        self._known = kept
        self._nonces = []
        self._learnt_tick = None

    def dump(self):
        """Return [earliest, latest, tick they belong to, source bits] or None."""
        return self._known

    @property
    def sources(self):
        """Source bits."""
        return 0 if self._known is None else self._known[3]

    def interval(self, tick):
        """Return earliest and latest POSIX second of a tick; None, None while unknown."""
        if self._known is None or tick < self._known[2]:
            return None, None
        earliest, latest, since, _ = self._known
        spent = tick - since
        drift = spent * DRIFT_PPM // 1_000_000 + (1 if spent else 0)
        return earliest + spent - drift, latest + spent + drift

    def learn(self, earliest, latest, tick):
        """Take a signed time; a narrower interval that is known already and agrees is kept."""
        low, high = self.interval(tick)
        if low is not None and max(low, earliest) <= min(high, latest):
            earliest, latest = max(low, earliest), min(high, latest)
        self._known = [earliest, latest, tick, SIGNED]
        self._learnt_tick = tick

    def slept(self, tick_before, off_s, tick):
        """Take off-time that the RTC measured; `off_s` None loses the time."""
        low, high = self.interval(tick_before)
        if low is None or off_s is None:
            self._known = None
            return
        drift = off_s * RTC_PPM // 1_000_000 + 2
        self._known = [low + off_s - drift, high + off_s + drift, tick, self._known[3] | RTC]

    def nonce(self, tick, random):
        """Return the nonce to publish: a new one each minute; those before stay answerable for a while."""
        self._nonces = [pair for pair in self._nonces if tick - pair[1] <= NONCE_LIFE_S]
        if not self._nonces or tick - self._nonces[-1][1] >= NONCE_S:
            self._nonces = self._nonces[1 - _NONCES :]
            self._nonces.append((random(16), tick))
        return self._nonces[-1][0]

    def wants(self, tick, every_s):
        """Return whether a signed time is wanted: none, wide, or none for so long."""
        low, high = self.interval(tick)
        if low is None or high - low > NONCE_LIFE_S // 2 or self._learnt_tick is None:
            return True
        return tick - self._learnt_tick >= every_s

    def read_token(self, data, entries, tick, verify, feed=None):
        """Take a signed time token.

        Args:
            data: the COSE_Sign1 of kind `time`.
            entries: the keys in force, see `time_keys`.
            tick: now.
            verify: as `p256.verify`.
            feed: given to `verify`.

        Returns:
            "OK", or BAD_ENCODING, UNKNOWN_KEY, BAD_SIG, HIGH_S, STALE (a nonce nobody asks with now),
            NOT_YET (a successor that may not sign yet); and the kid of the key, None unless OK.
        """
        try:
            kid, protected, payload, signature = cose_sign.read_sign1(data)
            token = strict_cbor.loads(payload)
        except ValueError:
            return "BAD_ENCODING", None
        if not fits(token, _TOKEN):
            return "BAD_ENCODING", None
        asked = [at for nonce, at in self._nonces if nonce == token[2] and tick - at <= NONCE_LIFE_S]
        if not asked:
            return "STALE", None
        entry = time_keys.find(entries, kid)
        if entry is None:
            return "UNKNOWN_KEY", None
        word = verify(
            cose_sign.key_xy(entry[0]), cose_sign.signed1_digest("time", payload, protected), signature, feed
        )
        if word != "OK":
            return ("HIGH_S" if word == "HIGH_S" else "BAD_SIG"), None
        seconds = token[3] // 1_000_000
        if seconds < entry[1]:
            return "NOT_YET", None
        self._nonces = [pair for pair in self._nonces if pair[0] != token[2]]
        self.learn(seconds, seconds + 2 + tick - asked[0], tick)
        return "OK", kid


def ticks_after(record, rtc_s):
    """Return the tick at a boot and the off-time in s, None when nobody measured it."""
    if rtc_s is None or record.rtc is None or not 0 <= rtc_s - record.rtc <= OFF_S_MAX:
        return record.tick, None
    return record.tick + rtc_s - record.rtc, rtc_s - record.rtc
