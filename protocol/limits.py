"""Every maximum of the product, with its unit and the reason for its value.

Rules: each queue, batch, message and retry has its limit here and nowhere else; a reader enforces it before
it allocates. Units are the last word of the name. Limits are part of the protocol where a peer could exceed
them: raising one is a new version.

This module computes nothing.

Example:
    >>> PAYLOAD_BYTES_MAX
    262144
"""

# --- Protocol: messages -------------------------------------------------------------------------------------

PAYLOAD_BYTES_MAX = 262_144
"""Bytes of one MQTT payload: every broker takes 256 KiB by default, and a lost one costs a modem seconds, not
minutes."""

SIGN1_BYTES_MAX = 16_384
"""Bytes of a COSE_Sign1 that is not a batch header (receipt, policy, time, proofs): the largest, a policy,
stays below 8 KiB."""

HEADER_BYTES_MAX = 8_192
"""Bytes of a batch header's COSE_Sign1: all lists at their maximum take about 7 KiB, the backend keeps it
verbatim for years."""

TOPIC_BYTES_MAX = 256
"""Bytes of a topic name: ours have 92; what is longer is not ours and is not split."""

STATUS_BYTES_MAX = 64
"""Bytes of `up/status`: {1: bool} takes 3; the rest is room for readers that meet newer writers."""

DEPTH_MAX = 8
"""Nested containers in one CBOR item: our deepest, `facts`, uses 5; a bound keeps recursion off the stack's
end."""

TEXT_BYTES_MAX = 256
"""Bytes of one text (a signal, unit, message or bus name): DBC long names reach 128; positions in logs stay
readable."""

SECTIONS_MAX = 16
"""Sections in one batch: five exist; the rest is room for readers that meet newer writers."""

SALT_BYTES = 16
"""Bytes of salt before a section's data: 128 bits keep a withheld section's hash from being guessed."""

GAPS_MAX = 32
"""Declared gaps in one header: one arises per power cut; more wait for the next batch."""

LOSSES_MAX = 32
"""Declared lost seq ranges in one header: eviction takes neighbours, so ranges merge; more wait for the next
batch."""

ENDED_LOSSES_MAX = 32
"""Seq ranges of ended chains declared lost in one header: they arise once, after storage was exchanged or a
backend was restored; more wait for the next batch."""

STANDING_CHAINS_MAX = 32
"""Chains in one question for where they stand: a box has one, and one more for each exchange of its storage;
older ones than these are not asked about any more."""

SEQ_MAX = 2**53 - 1
"""Highest seq of a chain: exact in JSON and JavaScript, and out of reach at one batch a second (285 million
years)."""

TIME_US_MAX = 2**63 - 1
"""Highest instant in µs: fits a signed 64-bit column (292,000 years)."""

COUNT_MAX = 2**53 - 1
"""Highest value of a counter: exact in JSON and JavaScript."""

# --- Protocol: receipts -------------------------------------------------------------------------------------

RECEIPT_HAVE_MAX = 32
"""`have` ranges in one receipt: a backlog sent newest first leaves few holes; a receipt stays below 2 KiB."""

RECEIPT_REFUSED_MAX = 16
"""Refused seqs in one receipt: refusals are rare and each is repeated until the chain moves past it."""

RECEIPT_WANT_MAX = 16
"""`want` ranges in one receipt: a restored backend asks again with the next receipt."""

# --- Protocol: sections -------------------------------------------------------------------------------------

GROUPS_MAX = 4_096
"""Groups in one section or dictionary: the largest public DBC at hand has 331 messages; branches multiply
it."""

COLUMNS_MAX = 512
"""Columns of one group: a 64-byte CAN FD frame holds at most 512 one-bit signals."""

SIGNALS_BYTES_MAX = 67_108_864
"""Bytes of decoded `signals` arrays (8 per cell): 60 s of three full 500 kbit/s buses are about 22 MB; a bomb
stops here."""

FIXES_MAX = 10_000
"""Fixes in one section: 60 s of a 25 Hz receiver are 1,500."""

FRAMES_MAX = 1_000_000
"""Raw frames in one section: 60 s of three full 500 kbit/s buses are 270,000; a 16 B record each bounds
memory."""

FRAMES_BYTES_MAX = 67_108_864
"""Bytes of decoded `frames` arrays: as `SIGNALS_BYTES_MAX`."""

BUSES_MAX = 16
"""Buses in one `frames` section: cars have 2 to 8."""

WINDOWS_MAX = 64
"""High-rate windows in one section: a few axes of a few events."""

WINDOW_VALUES_MAX = 1_000_000
"""Values of one window: 60 s of 16 kHz."""

FACTS_BYTES_MAX = 1_048_576
"""Bytes of a `facts` section after decompression: a dictionary of 4,000 signals takes about 400 KiB."""

EVENTS_MAX = 1_024
"""Events in one batch: a minute with more is noise, and the writer counts what it leaves out."""

HEALTH_MAX = 256
"""Health values in one batch: every counter of the agent, twice over."""

EVENT_FIELDS_MAX = 32
"""Fields of one event: an event is a fact, not a record set."""

# --- Protocol: delivery -------------------------------------------------------------------------------------

BATCH_AGE_US_MAX = 60_000_000
"""Age in µs at which an open batch is sealed: position on screen is at most the cadence + 2 s old."""

PUBLISH_WINDOW = 20
"""Batches published and not yet acknowledged by the broker: more brings the Python client nothing
(measured)."""

# --- Protocol: orders (strict_cbor) -------------------------------------------------------------------------

ORDER_BYTES_MAX = 2_048
"""Bytes of an order: fits the microcontroller's buffer and one MQTT packet. `strict_cbor` repeats it, see
there."""

ORDER_DEPTH_MAX = 8
"""Nested containers in an order; `strict_cbor` repeats it, see there."""

ORDER_SIGNERS_MAX = 8
"""Signatures in one COSE_Sign: an order has three, a rotation of the platform's root six. Each costs the
microcontroller a verification, so more are refused unread."""

ORDER_TICKET_BYTES_MAX = 1_024
"""Bytes of a gate's ticket inside an order: it has 246."""

ORDER_LIFE_S_MAX = 86_400
"""Seconds from signing to the end of a restricting order, and from its challenge to its last tick: payments
of a later day must not meet an older order."""

BENCH_LIFE_S_MAX = 120
"""Seconds from the challenge in which a bench test may run: the installer stands beside the car."""

LEASE_S_MAX = 604_800
"""Seconds of `max_hold`: seven days, then only new signatures lock again."""

OVERRIDE_WINDOW_S_MIN = 86_400
"""Seconds of the emergency window at least; a jurisdiction may only raise it."""

CLOCK_WIDTH_S_MAX = 300
"""Width in seconds of the interval in which the time is known, for a restricting order to be accepted."""

GO_AGE_S_MAX = 900
"""Age in seconds of a go token at ARMED → LOCKED, counted from the question: a payment of the last quarter
of an hour stops the lock."""

DELEGATION_S_MAX = 2_592_000
"""Seconds a delegation may live: 30 days, so that what was forgotten ends by itself."""

CTR_JUMP_MAX = 4_294_967_296
"""How far a counter may leap: it may be POSIX seconds, yet two million leaps leave counters for later."""

REVOKED_DOC_MAX = 16
"""Kids and persons in one snapshot or addition: with six signatures it still fits an order's bytes."""

REVOKED_MAX = 64
"""Kids and persons revoked for one root at a time: delegations end within 30 days, a snapshot then drops
them."""

LOAN_LIST_MAX = 16
"""Pending payments, flags or papers in one answer about a loan: a borrower in arrears has a handful."""

BASIS_RECORDS_MAX = 16
"""Loan records in a basis bundle: two notices on each of six channels, and what became of some."""

BASIS_BYTES_MAX = 36_864
"""Bytes of a basis bundle: facts and 16 records at their largest take about 35 KB, as a rule 4 KB."""

GATE_RECORD_BYTES_MAX = 2_048
"""Bytes of a freeze, limit or opinion: a sentence, a hash and a signature."""

PACK_BYTES_MAX = 16_384
"""Bytes of a signed jurisdiction pack: a page of numbers and two years of holidays take about 2 KB."""

FACTS_AGE_S_MAX = 900
"""Oldest loan facts in s that an approval, the gate or a go token may rest on: README §1.6, 15 minutes."""

AUTHORITY_BUNDLE_BYTES_MAX = 32_768
"""Bytes of `down/authority`: sixteen documents of an order's size, or a zone set of a large town."""

AUTHORITY_DOCUMENTS_MAX = 16
"""Documents in one bundle: two snapshots, their additions, and the delegations of several orders."""

AUTHORITY_DIGESTS_MAX = 8
"""Hashes in one question for documents: an order names at most four."""

# --- Protocol: log ------------------------------------------------------------------------------------------

CHECKPOINT_BYTES_MAX = 16_384
"""Bytes of a checkpoint with its signatures: some 120 a witness; what C2SP asks readers to take, and more."""

NOTE_SIGNATURES_MAX = 64
"""Signatures of one checkpoint: C2SP asks for 16 at least; a log has one, a handful of witnesses one each."""

LOG_ORIGIN_BYTES_MAX = 256
"""Bytes of a log's origin and of a witness's name: as in an order's log_ref."""

ADD_CHECKPOINT_BYTES_MAX = 32_768
"""Bytes of a log's request to a witness: a checkpoint and its proof, 45 bytes a hash."""

CONSISTENCY_HASHES_MAX = 63
"""Hashes of a consistency proof: C2SP's bound; a log of 2^53 leaves needs 54."""

MCU_BODY_BYTES_MAX = 4_072
"""Bytes of a message on the microcontroller's link: with kind, checksum and stuffing a frame stays within
4 KiB of its buffer."""

ORDERS_WAITING_MAX = 32
"""Orders of one group (releasing, all others) that the agent keeps until the microcontroller has answered:
one car has one open restricting order; more is a flood, and the oldest makes room."""

DISPOSITIONS_KEPT_MAX = 256
"""Receipted dispositions that the agent keeps, so that a restored backend can ask for them again: years of
one car."""

DISPOSITIONS_PENDING_MAX = 4_096
"""Dispositions without a receipt that the agent takes from the microcontroller; beyond it none is
acknowledged and the microcontroller keeps its own."""

DISPOSITION_WINDOW = 8
"""Dispositions on the way at once: a reader behind the broker takes them in order."""

DELEGATIONS_KEPT_MAX = 64
"""Delegations that the agent keeps in memory to supply again: eight orders' worth of people."""

ZONES_MAX = 1_024
"""Zones in one zone set, and points in one outline: what one evaluation a second can afford."""

HOLIDAYS_MAX = 512
"""Days in one calendar that are not what their weekday says: ten years of the country with most."""

JOURNAL_QUEUE_MAX = 1_024
"""Changes before the order journal's disk: more means that it stands still, and the engine tries again."""

MCU_BODIES_KEPT_MAX = 32
"""Messages to the microcontroller that the agent remembers, in case it was too busy for them: two bundles."""

MCU_FRAMES_MAX = 256
"""Frames between the microcontroller's thread and the agent: a minute of them."""

# --- Protocol: installation (strict_cbor) -------------------------------------------------------------------

WORK_TICKET_BYTES_MAX = 1_024
"""Bytes of a work ticket: a QR code of 1,400 characters is still read from a phone's screen."""

WORK_TICKET_LIFE_S_MAX = 50_400
"""Seconds between a work ticket's nbf and exp: one working day (14 h); a lost phone is harmless tomorrow."""

INSTALL_ARGUMENT_BYTES_MAX = 12_288
"""Bytes of a command's argument: the largest, a bundle of delegations, takes some 8 KiB; with key, ids and
signature the message stays within SIGN1_BYTES_MAX."""

INSTALL_WORD_BYTES_MAX = 64
"""Bytes of a word in a form of an installation (step, act, label): an ICCID has 20, our longest word 15."""

INSTALL_FACTS_MAX = 48
"""Facts in a report or record: some 25 exist; the rest is room for readers that meet newer writers."""

INSTALL_PHOTOS_MAX = 16
"""Photos named in a record: wires, box, relay, VIN and what an installer thinks of; a hash each."""

INSTALL_DEPTH_MAX = 4
"""Nested containers in a form of an installation: map, list of steps, step."""

INSTALL_RECORD_BYTES_MAX = 6_144
"""Bytes of a record's payload: nineteen steps with what was measured take 3 KiB; a report carries it."""

# --- Protocol: labels of boxes ------------------------------------------------------------------------------

LABEL_TEXT_CHARS_MAX = 128
"""Characters of a label's QR text: ours has 66, what a phone scans by mistake may have thousands."""

# --- Firmware of the microcontroller ------------------------------------------------------------------------

FIRMWARE_MANIFEST_BYTES_MAX = 32_768
"""Bytes of a release's manifest: 45 files take 6 KiB; the board reads it at every start."""

FIRMWARE_FILES_MAX = 128
"""Files of an image: there are 45."""

FIRMWARE_FILE_BYTES_MAX = 65_536
"""Bytes of one file of an image: the largest has 9 KiB, and is loaded as a whole."""

FIRMWARE_IMAGE_BYTES_MAX = 524_288
"""Bytes of an image: two of them and the caches fit what MicroPython leaves of 2 MiB (1,408 KiB)."""

FIRMWARE_SIGNERS_MAX = 8
"""Keys in a trust file: three officers, and as many again while keys are replaced."""

FIRMWARE_RELEASE_MAX = 2**31 - 1
"""Largest release number: a MicroPython small integer of a 64-bit host and of a board."""

BOARDS_AT_ONCE_MAX = 32
"""Boards of one call: a tray; each has a thread and a serial line."""

# --- Depot --------------------------------------------------------------------------------------------------

DEPOT_BOXES_MAX = 64
"""Boxes of one tray: what fits on a table and into one person's care."""

DEPOT_BOXES_AT_ONCE = 16
"""Boxes worked on side by side: each waits for its network and its flash, not for our processor."""

DEPOT_SSH_S_MAX = 60
"""Seconds for one conversation over SSH: writing twenty small files, or making a key in a slow TPM."""

DEPOT_HTTP_S_MAX = 20
"""Seconds for an answer of the office about a label."""

DEPOT_ANSWER_BYTES_MAX = 262_144
"""Bytes of what a box says over SSH: twenty files of 2 KiB in base64 take a fifth of it."""

DEPOT_SPARE_BYTES = 1_048_576
"""Bytes that a box's root must have free before anything is written there: the files take 10 KiB."""

LABELS_A_SHEET_MAX = 48
"""Labels of a printed page: A4 takes four columns of twelve."""

TRAY_BYTES_MAX = 65_536
"""Bytes of a tray file: 64 boxes take some 12 KiB."""

# --- Protocol: policy and time ------------------------------------------------------------------------------

POLICY_BYTES_MAX = 8_192
"""Bytes of a policy document: one MQTT packet, read by people in review."""

POLICY_RULES_MAX = 256
"""Rules of one kind in a policy: more is a catalogue, not a policy."""

NONCE_BYTES = 16
"""Bytes of a nonce: 128 bits never repeat by chance."""

# --- Backend: database, API ---------------------------------------------------------------------------------

DATABASE_BUSY_MS_MAX = 10_000
"""Milliseconds a writer waits for SQLite's write lock: several group commits on a slow disk, then a clear
error."""

DATABASE_CONNECTIONS_MAX = 80
"""Connections of one process: the API's 40 threads hold a reading and a writing session each, so that none
waits for a connection that another, waiting one holds."""

DATABASE_IDLE_MS_MAX = 600_000
"""Milliseconds a PostgreSQL session may stand still in a transaction: a slow reader of a month's trace gets
ten minutes a block; a program that hangs does not hold back clean-up for ever."""

TRANSACTION_ATTEMPTS_MAX = 8
"""Attempts of one transaction that other writers are in the way of: each sees what the last was beaten by, so
a second is almost always enough."""

TRANSACTION_PAUSE_S_MAX = 0.25
"""Longest pause in s before such a repetition; all together stay below a second."""

PARTITION_MONTHS_AHEAD = 3
"""Months whose partitions are made before they begin: a quarter in which somebody notices that none are
made."""

PARTITION_LOCK_MS_MAX = 2_000
"""Milliseconds that making a partition waits for a table: whoever comes after it waits as long."""

REQUEST_BODY_BYTES_MAX = 65_536
"""Bytes of one HTTP request body: the largest, an order with the basis it rests on, in base64url, and the
signer's delegation."""

IDEMPOTENCY_KEY_CHARS_MAX = 64
"""Characters of an Idempotency-Key: a UUID has 36."""

IDEMPOTENCY_LIFE_US = 604_800_000_000
"""How long a repeated request gets its first answer, µs: 7 days, longer than any retry of an order lives."""

DISPOSITION_CONFLICTS_MAX = 256
"""Signed dispositions kept for each box that contradict its chain: evidence of a fault, not a store."""

GO_QUESTIONS_MAX = 64
"""Go requests kept for each box: one for each parking, void after 15 minutes."""

ORDERS_DRIVEN_MAX = 32
"""Orders that one round of the worker moves on: each may ask the gate over HTTP."""

PLACE_AGE_S_MAX = 1_800
"""Seconds since the fix whose cell of a tenth of a degree the gate gets for a forecast (row 15: a place
counts 30 min)."""

ORDERS_SENT_MAX = 100
"""Messages to boxes that one round of the bridge publishes."""

CHALLENGE_SENDS_MAX = 6
"""How often a question for a challenge goes out while no challenge comes: a sleeping box wakes every 6 h."""

PAGE_ITEMS_DEFAULT = 100
"""Items of a page when the caller does not say: a screenful or two."""

PAGE_ITEMS_MAX = 1_000
"""Items of a page at most: one answer stays below a megabyte and one query short."""

CURSOR_CHARS_MAX = 512
"""Characters of a paging cursor: ours are shorter; what is longer was not made by us."""

# --- Backend: keys, enrolment, certificates -----------------------------------------------------------------

NAME_CHARS_MAX = 200
"""Characters of a name or label: a line on a screen."""

API_KEY_LIFE_DAYS_DEFAULT = 365
"""Days an API key lives when no one says: yearly renewal finds keys that nobody owns any more."""

API_KEY_LIFE_DAYS_MAX = 731
"""Days an API key lives at most: two years, so that even a forgotten one ends."""

ENROLMENT_TOKEN_LIFE_S_DEFAULT = 86_400
"""Seconds a one-time token lives when no one says: an installer's working day."""

ENROLMENT_TOKEN_LIFE_S_MAX = 2_592_000
"""Seconds a one-time token lives at most: 30 days, a batch of boxes from warehouse to workshop."""

ENROLMENT_TOKENS_PER_REQUEST_MAX = 100
"""Tokens of one request: a day's work of one workshop; the answer shows each once."""

ENROLMENT_TOKENS_OPEN_MAX = 10_000
"""Unused tokens of one organisation: a large roll-out; more would be a leak waiting."""

ENROLMENTS_PER_HOUR_MAX = 1_000
"""Enrolments of one organisation in an hour: a production line; a stolen installer's key cannot flood the
registry faster."""

CSR_CHARS_MAX = 4_096
"""Characters of a CSR in PEM: one for P-256 has about 500; the rest is room for names we ignore."""

PROOF_CHARS_MAX = 4_096
"""Characters of a proof in base64: one has about 600."""

RENEWAL_NONCE_LIFE_S_MAX = 300
"""Seconds between asking for a renewal's nonce and using it: a slow modem with a few resends."""

CERTIFICATE_BACKDATE_S = 3_600
"""Seconds a certificate begins before its making: a broker whose clock is slow still accepts it."""

CA_LIFE_DAYS = 7_305
"""Days the CA's certificate lives: 20 years, longer than a box, which pins it at enrolment."""

DEVICE_CERTIFICATE_LIFE_DAYS = 90
"""Days a box's certificate lives: short enough that a lost CRL matters little; renewal works even after it,
by proof of the box's key, so a car parked for a winter is not locked out."""

SERVER_CERTIFICATE_LIFE_DAYS = 397
"""Days a broker's or the API's certificate lives: a yearly renewal with a month to spare."""

CRL_LIFE_DAYS = 30
"""Days a revocation list says it holds: a broker whose list has run out refuses every box, so a month of
failed daily refreshes must pass first. How fast a revocation works depends on the refresh, not on this."""

# --- Backend: broker ----------------------------------------------------------------------------------------

BROKER_BOXES_DEFAULT = 2_000
"""Boxes a broker is sized for when no one says: a large site; a fleet beyond it wants a cluster."""

BROKER_BOXES_MAX = 100_000
"""Boxes one broker may be sized for: its queue in memory could reach 50 GiB, more is no single machine."""

BROKER_OTHER_CONNECTIONS = 50
"""Connections beside the boxes': bridges, a probe, and boxes that come back before their old session ends."""

BROKER_QUEUED_PER_BOX = 50
"""Messages kept per box for an absent bridge: without receipts a box sends a window of 20 and then one each
ten minutes at most, so this is about five hours."""

BROKER_QUEUED_BYTES_PER_BOX = 524_288
"""Bytes of those: 50 batches of 10 KiB; 1 GiB of memory for 2,000 boxes, used only after hours without a
bridge."""

BROKER_AUTOSAVE_S = 300
"""Seconds between a broker's snapshots: each writes all sessions and queues and stops it meanwhile; what a
crash takes is sent again by the boxes."""

# --- Backend: log -------------------------------------------------------------------------------------------

WITNESSES_MAX = 16
"""Witnesses of one log: each is asked at every checkpoint, and each cosignature travels in evidence."""

WITNESS_WAIT_S_MAX = 5
"""Seconds to wait for a witness: an order may wait for it; a silent one is asked again soon."""

# --- Backend: ingest, traces, evidence ----------------------------------------------------------------------

CHAIN_RANGES_MAX = 4_096
"""Stored ranges of one chain: a backlog sent newest first makes a few; more is a box that leaves out every
other number, and each further range would be rewritten with every batch."""

CHAIN_LOST_RANGES_MAX = 4_096
"""Ranges of one chain that it, or that later chains, declare lost: as many as lie between and behind the
stored ranges it may have. A batch that declares more is not stored, or half of its word would be kept."""

CHAINS_MAX = 1_000
"""Chains of one box: a new one means lost or exchanged storage, at most a few in a box's life."""

GROUP_COMMIT_MESSAGES_MAX = 100
"""Messages taken in by one transaction: above it one disk sync per group is no longer what costs
(measured)."""

GROUP_COMMIT_WAIT_MS_MAX = 50
"""Milliseconds a first message waits for others before its group is committed: unseen beside a minute's
batch."""

BRIDGE_QUEUE_MAX = 1_000
"""Messages between the MQTT thread and the committing thread: ten groups; when full the socket is not read,
and TCP makes the broker wait."""

QUARANTINE_ITEMS_MAX = 256
"""Refused batches kept per box: enough to see what went wrong; beyond it they are counted only."""

INTEGRITY_HOLE_GRACE_US = 900_000_000
"""Age in µs at which a hole in a chain becomes an event: a backlog after a silence takes minutes to
arrive."""

CLOCK_EARLIEST_US = 1_262_304_000_000_000
"""Earliest believable UTC, 2010-01-01: after every default of a clock without battery (1970, 1980, 2000),
before any recording that is replayed."""

CLOCK_AHEAD_US_MAX = 86_400_000_000
"""How far in µs a batch's UTC may lie after its arrival, one day: a wrong time zone is forgiven, 2038 is
not."""

BATCH_SPAN_US_MAX = 86_400_000_000
"""Longest batch in µs whose UTC is believed, one day: a batch is sealed after a minute at most."""

PROJECT_BATCHES_MAX = 100
"""Batches projected in one transaction: bounds how long the write lock keeps the bridge waiting."""

TRACE_RANGE_US_MAX = 2_678_400_000_000
"""Longest time range in µs of one trace or evidence request, 31 days: a month's report; more is asked in
parts."""

TRACE_BATCHES_MAX = 256
"""Batches read from the database at once for a trace: of a few kilobytes each as a rule, 64 MB at their very
largest."""

ROLLUP_RANGE_US_MAX = 31_622_400_000_000
"""Longest time range in µs of one roll-up request, 366 days."""

TRACE_SIGNALS_MAX = 256
"""Signals named in one trace request: more than any screen draws; leaving the selection out returns all."""

EVIDENCE_UNTIMED_BATCHES_MAX = 200
"""Batches without a time that an export takes of a chain with no time in the interval: hours of driving; a
box without a clock for months must not fill the file."""

EVIDENCE_BYTES_MAX = 268_435_456
"""Bytes of one evidence file: a month of a car at 30 MB, several times over, and what a verifier holds in
memory."""

EVIDENCE_PARTS_MAX = 400_000
"""Parts of one evidence file: a month of a batch a minute with three sections has 180,000."""

EVIDENCE_CHAINS_MAX = 1_000
"""Chains in one evidence file: as many as a box may have."""

EVIDENCE_MANIFEST_BYTES_MAX = 67_108_864
"""Bytes of an evidence manifest: all parts and withheld sections at their maximum take about 60 MB."""

# --- device: acquisition ------------------------------------------------------------------------------------

DBC_BYTES_MAX = 16_777_216
"""Bytes of a DBC file: the largest public one at hand has 0.4 MB; a log named by mistake stops here."""

DBC_SIGNALS_MAX = 65_536
"""Signals of one DBC, each branch's counted: twenty times the largest at hand; bounds the table in memory."""

DBC_MESSAGES_MAX = 16_384
"""Messages of one DBC: fifty times the largest at hand; J1939 as a whole defines about 2,000 groups."""

DBC_MESSAGE_BYTES_MAX = 1_785
"""Bytes of one DBC message: the longest that J1939 carries in packets; beyond it cantools' tables grow
without bound."""

DBC_SELECTOR_VALUES_MAX = 65_536
"""Selector values of one DBC message, those of nested switches multiplied: one 16-bit selector with a range
for all of its values; cantools expands ranges and keeps a codec for each value."""

DBC_VERBATIM_CHARS_MAX = 524_288
"""Characters of a DBC that cantools reads as it stands: the largest at hand has 0.4 MB. Of a longer one it
gets what decoding needs; its parser takes some 500 bytes of memory for each byte of text."""

DBC_VALUE_TEXTS_MAX = 65_536
"""Value texts of one DBC: twenty times the most at hand; beyond them the texts are left out, numbers stay."""

DBC_BROKEN_MAX = 10_000
"""Statements of one DBC that are none: a file with more is something else."""

DBC_FINDINGS_MAX = 1_000
"""Findings listed for one DBC: more than a person reads; the rest is counted."""

DECODE_TABLE_BYTES_MAX = 16_777_216
"""Bytes of a compiled table: about 80 a signal, so twice what `DBC_SIGNALS_MAX` needs with long names."""

PROFILE_BYTES_MAX = 262_144
"""Bytes of a vehicle profile: written by people, a few lines a signal."""

LOT_FRAMES_MAX = 8_192
"""Frames of one lot read from a log: the decoder's arrays stay within a few MB, progress stays visible."""

LOG_LINE_BYTES_MAX = 1_024
"""Bytes of one line of a CAN log: a CAN FD frame in candump form has 170; a longer line is no frame."""

LOG_BUSES_MAX = 256
"""Buses of one CAN log: a recorder has a handful; damaged interface names must not fill tables by bus."""

BLF_CONTAINER_BYTES_MAX = 16_777_216
"""Bytes of one BLF object, packed and unpacked: Vector's tools write containers of 128 KiB."""

MF4_BLOCK_BYTES_MAX = 67_108_864
"""Bytes that one packed MF4 data block may unpack to: the standard advises 4 MiB."""

MF4_META_BYTES_MAX = 1_048_576
"""Bytes of one MF4 block that describes (names, comments, channels); a data list has 8 a block."""

MF4_CHANNELS_MAX = 65_536
"""Channels and groups together of one MF4 file: the bus logger with most at hand has 900."""

MF4_RECORD_BYTES_MAX = 65_536
"""Bytes of one MF4 record: a CAN FD frame with its extras has about 100."""

UNKNOWN_IDS_MAX = 4_096
"""Identifiers that one decoding counts apart when the DBC does not know them; 2,048 are standard ones."""

PARQUET_GROUP_ROWS = 262_144
"""Values of one row group of a Parquet file: some 10 MB held while decoding, large enough to pack well."""

NMEA_SENTENCE_BYTES_MAX = 1_024
"""Bytes of one NMEA sentence: the standard says 82, receivers stretch it; what is longer is noise."""

GPSD_LINE_BYTES_MAX = 65_536
"""Bytes of one report of gpsd: a SKY of 40 satellites has 4,000, its own limit of satellites makes 20,000."""

CAR_MONTH_BYTES = 30_000_000
"""Bytes a car may send in a month by default; a signed policy may say otherwise."""

JUMP_SPEED_MM_S_MAX = 100_000
"""Speed between two fixes, mm/s, that no road vehicle reaches: 360 km/h; faster is a jump."""

JUMP_SLACK_MM = 200_000
"""How far two true fixes may scatter, mm: between tall buildings a receiver is off by up to a hundred metres
each time."""

# --- Device: spool ------------------------------------------------------------------------------------------

SPOOL_QUEUE_MAX = 1_000
"""Effects between the engine and the spool's thread: over an hour of ticks while a disk hangs; then the agent
starts again."""

# --- Device: agent shell ------------------------------------------------------------------------------------

CAN_LOT_FRAMES_MAX = 4_096
"""Frames of one lot of a live bus: 25 ms of a 1 Mbit/s bus are < 230, a burst after a stall is more."""

CAN_LOTS_MAX = 256
"""Lots that wait for the event loop: six seconds of a bus; then frames are dropped, and counted."""

NMEA_LINE_BYTES_MAX = 512
"""Bytes of one piece handed over by the receiver's thread: a sentence has 82; the rest is cut."""

NMEA_LINES_MAX = 256
"""Lines that wait for the event loop: half a minute of a receiver."""

UPLINK_IN_FLIGHT_MAX = PUBLISH_WINDOW + 4
"""Messages without PUBACK: the engine's window of batches, and room for status and requests beside it."""

UPLINK_MESSAGES_MAX = 256
"""Messages from the broker that wait for the event loop: receipts come again, memory stays flat."""

UPLINK_EVENTS_MAX = 1_024
"""Connects, losses and PUBACKs that wait for the event loop: far more than can be in flight."""

SPOOL_ANSWERS_MAX = 4 * SPOOL_QUEUE_MAX
"""Answers of the spool that wait for the event loop: each effect has one at most, each fetch one more."""

UPLINK_LOST_WAIT_S_MAX = 120
"""Longest pause in s between attempts to connect: a broker that is down for hours needs no storm."""

UPLINK_REFUSED_WAIT_S_MAX = 900
"""Longest pause in s after a refusal: a person or a renewal undoes it, not another attempt."""

DEVICE_REOPEN_WAIT_S_MAX = 30
"""Longest pause in s before a bus or a receiver that failed is opened again: plugged in, it works soon."""

HTTP_ANSWER_BYTES_MAX = 65_536
"""Bytes of a server's answer to a box: two certificates and a handful of keys take about 4 KiB."""

KEY_FILE_BYTES_MAX = 4_096
"""Bytes of a private key's file: a P-256 key in PEM takes about 240."""

MCU_ANSWER_S_MAX = 5
"""Seconds for a microcontroller to say who it is: STATUS within one, its slowest signature in two."""

TPM_AUTH_BYTES = 32
"""Random bytes that a key in the TPM asks for: nobody guesses them, and SHA-256 names allow no more."""

TPM_RESPONSE_BYTES_MAX = 4_096
"""Bytes of a TPM's response, as its specification's reference implementation has them at most."""

TPM_WAIT_S_MAX = 20
"""Seconds for one answer of a TPM: the slowest chips take 10 s to make a P-256 key."""

TPM_TRIES_MAX = 5
"""How often a TPM that says "try again" (self-test, yielded) is asked, 50 ms apart."""

SETTINGS_BYTES_MAX = 65_536
"""Bytes of `agent.toml`, `trust.json` and `status.json`: pages of text; longer was not written by us."""

# --- Updates ------------------------------------------------------------------------------------------------

UPDATE_BUNDLE_BYTES_MAX = 32 * 1_024 * 1_024
"""Bytes of a bundle: agent and image take about 2 MB; a month's data of a car is 30 MB."""

UPDATE_MANIFEST_BYTES_MAX = 262_144
"""Bytes of a bundle's manifest: 1,000 files take 150 KiB."""

UPDATE_FILES_MAX = 1_500
"""Files of a bundle: the agent has some 300, the image some 40."""

UPDATE_NUMBER_MAX = (1 << 31) - 1
"""Largest number of a release, a version of the image or a size: a release a second for 68 years."""

UPDATE_WORD_CHARS_MAX = 32
"""Characters of a version or a board's name, and boards in a bundle."""

UPDATE_METADATA_BYTES_MAX = 131_072
"""Bytes of one file of TUF metadata but targets: a root with ten keys takes 6 KiB."""

UPDATE_TARGETS_BYTES_MAX = 1_048_576
"""Bytes of the targets' metadata: a thousand releases take 600 KiB."""

UPDATE_ROOTS_MAX = 32
"""Rotations of root a box follows in one go: one a quarter is eight years in a garage."""

UPDATE_HTTP_WAIT_S = 30.0
"""Seconds without a byte after which a download has failed; what came is kept."""

UPDATE_BOOTS_MAX = 3
"""Starts of a new release that end before it is found healthy at rest; the next start goes back."""

UPDATE_MCU_TRIES_MAX = 3
"""Attempts to write an image before the transaction turns back; each is some 20 s."""

UPDATE_MCU_WAIT_S = 300.0
"""Seconds an image may take to be written: 40 files over raw REPL take some 20."""

UPDATE_REST_HEALTH_S_MAX = 600
"""Seconds in which a release is healthy at rest, or goes back: a cold start of a receiver takes 60, a broker
that restarts some minutes."""

UPDATE_AWAKE_HEALTH_S = 60
"""Seconds of a car's bus awake after which every identifier seen before is due: slow ones come each 10 s."""

UPDATE_BASELINE_AGE_S_MAX = 600
"""Age in s of the health that an update is compared with: a car that stands changes little in ten minutes."""

UPDATE_SUPPLY_MV_MIN = 12_200
"""Millivolts at rest below which no update begins: a lead battery half full has some 12.2 V."""

UPDATE_DRAIN_MV_H_MORE = 60
"""Millivolts an hour more than before at which a release drains: a battery at rest falls 5 to 20 in the first
hours; 60 empties it in a week."""

UPDATE_DRAIN_WINDOW_S = 1_800
"""Seconds at rest over which a drain is measured: less drowns in the surface charge."""

UPDATE_IDS_MAX = 512
"""Identifiers in a health: cars have 50 to 250."""

UPDATE_FAILED_MAX = 16
"""Releases that a box remembers as failed; it does not try one twice."""

# --- backend: installation ----------------------------------------------------------------------------------

JOB_EVENTS_MAX = 500
"""Lines of a kind in a job's story: nineteen steps, each done over ten times, and room."""

JOBS_PAGE_MAX = 200
"""Jobs of one day in one answer: a depot of twenty fitters has some 120."""

JOB_PHOTO_BYTES_MAX = 4_194_304
"""Bytes of a photo: a phone's picture at 12 megapixels has 3 to 4 MB."""

JOB_WAIT_S_MAX = 25
"""Seconds that a request for a job's events may wait: below the 30 s at which proxies give up."""

JOB_STREAM_S_MAX = 300
"""Seconds of one stream of a job's events; the reader comes back and goes on where it was."""

JOB_STREAMS_MAX = 200
"""Readers that wait for events at once in one process: each asks the database once a second."""

WORKSHOP_DAYS_MAX = 30
"""Days of workshop mode: a body repair with parts on order; then alarms and rules hold again."""

BENCH_TICKET_S = 60
"""Seconds from the challenge for which a gate's ticket lets the coil be held: time to sit down and crank;
the fitter waits for its end before the released start."""

BENCH_TICKETS_A_DAY_MAX = 12
"""BENCH tickets of the gate a car and day: three tests, each done over three times."""

BENCH_TICKETS_INSTALLER_DAY_MAX = 120
"""BENCH tickets an installer and day: ten cars with all their repetitions."""

BINDS_A_DAY_MAX = 3
"""BIND parts of the gate a car and day: one is needed; torn links may cost one or two."""

BINDS_INSTALLER_DAY_MAX = 20
"""BIND parts an installer and day: twice what a person fits in one."""

INSTALL_PROGRESS_BYTES_MAX = 65_536
"""Bytes of a kept progress: record, attestation and steps take 12 KiB, identifiers of a loud bus 10 KiB."""

INSTALL_TICKETS_KEPT_MAX = 64
"""Work tickets whose use a box remembers: it sees a handful in its life, and each lives 14 h at most."""

INSTALL_IDS_MAX = 1_024
"""Identifiers kept of one listening: the largest public DBC at hand has 331 messages."""

INSTALL_WATCHERS_MAX = 8
"""Programs that listen at the local door at once: a terminal and a doctor; the rest is room for a tester."""

INSTALL_LINE_BYTES_MAX = 32_768
"""Bytes of a line at the local door: a command of 16 KiB in base64url takes 22 KiB."""

AT_CAR_CODE_S_MAX = 20
"""Seconds that a typed code may wait for the microcontroller's word: it may verify an order first."""

AT_CAR_ORDER_S_MAX = 120
"""Seconds that an order handed over at the car may wait: sixteen documents and a busy board take a minute."""

AT_CAR_LINE_BYTES_MAX = 49_152
"""Bytes of a line at the car's door: an order and a full bundle of documents take 46 KiB in base64url."""

AT_CAR_VISITORS_MAX = 4
"""Programs at the car's door at once: it serves one question at a time, and people type them."""

PROBATION_LOOK_DAYS = 14
"""Days after a record that are looked through for a drive and a night: a car on holiday is looked at again
by a later record; the rest bounds one look."""

PROBATION_BATCHES_MAX = 50_000
"""Batches of one look for a sleep: two weeks of one every 25 s."""

PROBATION_MINUTES_MAX = 20_160
"""Minutes of one signal in one look: two weeks."""

ENROL_HOOK_WAIT_S_MAX = 5
"""Seconds for the answer of an enrolment hook: a look-up beside us; a box tries again by itself."""
