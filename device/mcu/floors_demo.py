"""The floors of the demonstration: another image of the microcontroller, seconds instead of minutes.

Rules (README §2.13): the same names as `floors.py`, a test compares them; each disposition of this image
says that it is the demo's, and it is built with the published demo root. What protects people on a street
keeps its real number: speeds, temperatures, supply, own sources, tries. Only waiting is shortened, and the
hour of the day does not matter. It must never be fitted to a car.

This module decides nothing.

Example:
    >>> IS_DEMO, REST_S
    (True, 6)
"""

IS_DEMO = True

# --- What a parked car is (README §1 rows 1 and 2; S-03, S-05) ----------------------------------------------

REST_S = 6  # instead of 10 min
DRIVE_CYCLE_S = 6  # instead of 10 min
MOTION_SOURCES_MIN = 2  # the own accelerometer and one of wheel speed and GNSS
GNSS_REST_MM_S_MAX = 833  # 3 km/h
STEP_GAP_S_MAX = 2  # shorter than what it may interrupt
FACTS_AGE_S_MAX = 5  # the agent says its facts every second; older ones are as good as none
SPEED_AGE_S_MAX = 5  # wheel speed and fixes come at least every second
MOTION_S = (
    3  # accelerometer or GNSS saying "moving" without a break: more than a slammed door or one wild fix
)

# --- Place, hours, air (row 15; S-06, S-07) -----------------------------------------------------------------

ZONE_FIX_AGE_S_MAX = 1_800  # 30 min
HOURS_FROM_MIN = 0  # a demonstration runs at any hour
HOURS_TO_MIN = 1440  # a demonstration runs at any hour
BUSINESS_DAYS_ONLY = False  # and on any day
TEMP_C_MIN = -10  # outside air, °C
TEMP_C_MAX = 38
AMBIENT_AGE_S_MAX = 1_800  # 30 min

# --- Arming and the go token (rows 3 and 5; C-15) -----------------------------------------------------------

ARMED_S_MAX = 120  # instead of 15 min
GO_AGE_S_MAX = 120  # instead of 15 min

# --- Holds (README §2.2, row 14; S-09) ----------------------------------------------------------------------

CRASH_HOLD_S = 60  # instead of 72 h
LOCK_RATE_S = 60  # instead of 7 d

# --- Warning (row 13; S-08, S-09) ---------------------------------------------------------------------------

WARN_CYCLES_MIN = 2  # ignition cycles of the episode on which it was heard
WARN_PLAY_S = 2  # instead of 10 s
WARN_OFF_S = 1  # instead of 10 s
WARN_HEARD_S = 1  # sounding before feedback counts as heard: one sample of a wire is no ear
WARN_PER_DAY_MAX = 100  # a story warns often
WARN_DAY_S = 86_400  # "a day" rolls, so that two days never share a night
WARN_FROM_MIN = 0  # a demonstration runs at any hour
WARN_TO_MIN = 1440  # a demonstration runs at any hour
WARN_LEAD_S_MIN = 0  # the pack's lead stands in the order (key 20); a pack may ask for more

# --- Coil and relay (row 4; S-01, S-02) ---------------------------------------------------------------------

BROWN_OUT_MV = 9_000  # below it a starter is working
ONE_TOUCH_S = 60  # after ignition-on, for starts without a crank wire
RELAY_SETTLE_S = 2  # feedback may differ from the command so long; whole seconds, so one second at least

# --- Lease (row 10; C-16) -----------------------------------------------------------------------------------

LEASE_DEFAULT_S = 259_200  # 72 h, when an order names none
LEASE_CAP_S = 604_800  # 7 d from LOCKED, emergency windows included
OFF_TIME_UNKNOWN_S = 86_400  # charged to the lease for each power loss with the RTC lost
CONTACT_S_MAX = 600  # instead of 24 h

# --- Emergency start (rows 11 and 12; O-01 to O-05) ---------------------------------------------------------

OVERRIDE_S_MIN = 86_400  # 24 h; an order or a pack may only raise it
BUTTON_S = 2  # instead of 5 s
CYCLES = 3  # ignition-on, as often
CYCLES_S = 15  # within
CODES_MIN = 3  # deliverable with the notice
TRIES_FREE = 5
TRY_EVERY_S = 15  # instead of 15 min

# --- Faults (command-authority §4.7) ------------------------------------------------------------------------

WATCHDOG_RESETS_MAX = 3  # this many within the span below: released, and MONITOR until service
WATCHDOG_SPAN_S = 600
SERVICE_S = (
    10  # the button, with the ignition off: twice as long as an emergency start, so nobody does it unawares
)
