"""Limits of the officer's tool; those of the protocol stand in `protocol.limits`.

Example:
    >>> PASSPHRASE_CHARS_MIN
    12
"""

PASSPHRASE_CHARS_MIN = 12
"""Characters of a passphrase at least: with scrypt at 2^17, four random words outlive a delegation."""

PASSPHRASE_CHARS_MAX = 1_024
"""Characters of a passphrase at most: what is longer is a wrong file."""

SCRYPT_LOG2_N = 17
"""log2 of scrypt's cost for a new key file: 128 MiB and about half a second on an office machine."""

SCRYPT_LOG2_N_MIN = 14
"""Cheapest key file that is read: a weaker one was not written by this tool."""

SCRYPT_LOG2_N_MAX = 20
"""Dearest key file that is read: 1 GiB; a foreign file must not exhaust the machine."""

FILE_BYTES_MAX = 65_536
"""Bytes of a settings, key, root, draft or part file: three delegations of 500 bytes with their signatures
are a tenth of it."""

BASIS_BYTES_MAX = 1_048_576
"""Bytes of a basis bundle: loan facts and a handful of notices; a scan belongs into the loan file."""

ANSWER_BYTES_MAX = 8_388_608
"""Bytes of one answer of the server: an order with its basis and 200 dispositions stays below it."""

SERVER_TIMEOUT_S = 30.0
"""Seconds until a silent server counts as unreachable; nothing is lost, each request can be repeated."""

CHALLENGE_WAIT_S = 90.0
"""Seconds to wait for a car's challenge: a parked box with an order open answers within 60 s; one that sleeps
needs up to 6 h, and the officer comes back."""

CHALLENGE_POLL_S = 3.0
"""Seconds between two looks for a challenge."""

DELEGATIONS_MAX = 3
"""Consecutive delegations of one ceremony (README §2.2)."""

DELEGATION_DAYS_MAX = 30
"""Days of one delegation (README §2.2, K-03)."""

ROOT_YEARS_MAX = 2
"""Years a snapshot of a root may be in force (K-03)."""

ORDER_HOURS_MAX = 24
"""Hours from writing a restricting order to its end (README §1.5)."""

ORDER_CLOCK_SLACK_S = 300
"""Seconds by which this machine's clock may differ from the one that wrote an order."""

COUNTER_AHEAD_MAX = 1_000
"""How far a restricting order's counter may be above the head that the car signed: orders withdrawn or
refused use some up; a server that claims more would burn the car's counters."""

RELEASE_COUNTER_AHEAD_MAX = 31_536_000
"""How far above this machine's POSIX seconds a release's counter may be by the server's word: a year, as far
as a colleague's clock may have been wrong; a server that claims more is not believed."""

LEASE_HOURS_DEFAULT = 72
"""Hours of a lease when no one says (README §1.10)."""

PAGE_FORM_BYTES_MAX = 16_384
"""Bytes of a form sent to the page on loopback."""

PAGE_ORDERS_MAX = 200
"""Orders listed on the page: more wait at the server, and the page says so."""

PAGE_IDLE_S_MAX = 1_800
"""Seconds without a request after which the page forgets the unlocked key and ends."""

DISPOSITIONS_A_PAGE = 200
"""Answers of a car asked for at once: some hundred kB of JSON."""

DISPOSITION_PAGES_MAX = 200
"""Pages of one car's dispositions that are read: 40,000 answers, more than a contract has."""
