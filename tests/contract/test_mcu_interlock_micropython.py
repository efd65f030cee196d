"""The safety logic on the real MicroPython: the same files give the same answers as on CPython."""

from tests.builders.micropython import run_cpython, run_micropython

# Judges drawn cars, drives one through trackers and coil, lets leases, codes, warnings run; prints answers.
PROGRAM = """
from device.mcu import floors, floors_demo
from device.mcu.guard import Guard, Relay
from device.mcu.interlock import Go, judge
from device.mcu.interlock_holds import Holds
from device.mcu.interlock_watch import Watch
from device.mcu.lease import Lease
from device.mcu.override import Hand, Override
from device.mcu.sources import Seen
from device.mcu.warning import Warnings
from protocol.orders_override import code

state = 1
def draw(choices):
    global state
    state = (state * 1103515245 + 12345) % 2147483648
    return choices[(state >> 8) % len(choices)]

for _ in range(300):
    seen = Seen()
    seen.mode_active = draw((True, True, True, None))
    seen.crash_left_s, seen.rate_left_s, seen.override_left_s = draw((0,) * 9 + (5,)), 0, 0
    seen.warned, seen.ignition = 2, draw((False,) * 8 + (True, None))
    seen.engine = draw((False,) * 8 + (None,))
    seen.accel, seen.wheel = draw((2,) * 9 + (3, 5)), draw((2,) * 7 + (0, 1))
    seen.gnss = draw((0, 0, 2, 2, 4))
    seen.rest_s, seen.cycle_ended, seen.ran_s = draw((2000,) * 7 + (600, 599)), True, draw((600, 2000, 2000))
    seen.zone, seen.zone_age_s, seen.zone_version = draw((0,) * 8 + (1, 2)), 5, 3
    seen.local_minute, seen.business_day = draw((600, 600, 600, 479)), True
    seen.ambient_c10, seen.ambient_age_s = draw((None, 200, 390)), 5
    go = draw((Go(5, (4, 20)), Go(5, (4, 20)), None, Go(901, None)))
    print(judge(seen, draw((floors, floors_demo)), draw((None, {2: 700}, {7: [0, 20]})), go))

watch, guard = Watch(floors), Guard(floors)
for now in range(0, 1400, 2):
    running = now < 100
    facts = {1: [9000 if running else 0, 0], 2: [0, 0, 1], 10: running, 11: running}
    watch.feed(now, running, False, running, "moving" if running else "still", 12600, False, facts, 0)
    cranked = guard.coil(6, now, True, True, running, watch.moving, watch.cycle.ended, "turn-key", 12600)
    if now % 100 == 0:
        print(now, watch.rest.held_s, watch.cycle.ran_s, watch.cycle.ended, watch.moving, cranked)

lease = Lease(floors, 2000000000, 259200)
lease.window_opened(2000003600, 86400)
lease.charge_unknown_off_time()
lease.renew(2000090000, 400000)
print(lease.dump(), lease.end_tick(2000100000), Lease(floors, 0, kept=lease.dump()).is_over(2000600000))
override = Override(floors, bytes(range(32)))
override.begin(b"e" * 16, 3, 86400, 172800)
print([override.by_code(code(bytes(range(32)), b"e" * 16, n), 4000000000 + n) for n in (2, 3, 1)])
print(override.dump(), override.left, override.used)
print(override.by_code("123456789", 1), override.left_s(4000000010))
hand = Hand(floors)
print([hand.feed(n, n > 2, n % 2 == 0) for n in range(12)])
warnings = Warnings(floors)
warnings.begin(b"e" * 16)
print([warnings.feed(n, n % 4 > 0, 600, n % 2 == 0, True) for n in range(30)], warnings.dump())
holds = Holds(floors)
holds.locked(3000000000)
print(holds.rate_left_s(3000000005), Relay(floors).is_faulty(5, True, None))
"""


def test_micropython_and_cpython_give_the_same_answers() -> None:
    found = run_micropython(PROGRAM)
    assert found == run_cpython(PROGRAM)
    assert len(found) == 300 + 14 + 7
    assert sum(line.startswith("('OK'") for line in found) > 3
