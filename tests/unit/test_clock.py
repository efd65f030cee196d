"""The clock says where its time comes from, and its interval never lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.adapters.system_clock import DRIFT_PPM, GNSS_LATENCY_MAX_US, LinuxTime, SystemClock
from protocol.clock import ClockClass
from tests.builders.agent import SECOND, TODAY_US, OperatingSystemTime

YEAR_1970 = 60 * SECOND
YEAR_2038 = 2_147_483_647 * SECOND


def test_monotonic_time_starts_with_the_clock_and_ignores_the_wall() -> None:
    system = OperatingSystemTime(boottime=77 * SECOND)
    clock = SystemClock(system)
    system.boottime += 5 * SECOND
    system.realtime -= 86_400 * SECOND
    assert clock.mono_us() == 5 * SECOND


@pytest.mark.parametrize("wall", [0, YEAR_1970, YEAR_2038, 4_000_000_000 * SECOND])
def test_a_wall_clock_outside_the_sane_window_is_no_clock(wall: int) -> None:
    now = SystemClock(OperatingSystemTime(realtime=wall)).now()
    assert (now.clock, now.utc_us, now.error_us) == (ClockClass.NONE, None, None)


def test_a_sane_wall_clock_that_nobody_keeps_is_rtc_without_a_bound() -> None:
    clock = SystemClock(OperatingSystemTime())
    now = clock.now()
    assert (now.clock, now.utc_us, now.error_us) == (ClockClass.RTC, TODAY_US, None)
    assert not clock.is_trusted()


def test_a_kernel_kept_by_ntp_is_network_time_with_the_kernels_bound() -> None:
    now = SystemClock(OperatingSystemTime(kernel_error=40_000)).now()
    assert (now.clock, now.utc_us, now.error_us) == (ClockClass.NETWORK, TODAY_US, 40_000)


def test_a_kernel_kept_in_1970_is_still_no_clock() -> None:
    assert SystemClock(OperatingSystemTime(realtime=YEAR_1970, kernel_error=1)).now().clock is ClockClass.NONE


@pytest.mark.parametrize("wall", [YEAR_1970, YEAR_2038])
def test_gnss_gives_time_to_a_box_whose_wall_clock_is_lost(wall: int) -> None:
    clock = SystemClock(OperatingSystemTime(realtime=wall))
    assert clock.discipline_gnss(utc_us=TODAY_US, arrival_mono_us=0)
    now = clock.now()
    assert now.clock is ClockClass.GNSS
    assert now.utc_us is not None
    assert now.error_us is not None
    assert now.utc_us - now.error_us <= TODAY_US <= now.utc_us + now.error_us
    assert clock.is_trusted()


@pytest.mark.parametrize("stamp", [0, TODAY_US - 1024 * 7 * 86_400 * SECOND, YEAR_2038])
def test_a_gnss_time_of_another_age_is_refused(stamp: int) -> None:
    clock = SystemClock(OperatingSystemTime(realtime=0))
    assert not clock.discipline_gnss(utc_us=stamp, arrival_mono_us=0)
    assert clock.now().clock is ClockClass.NONE


def test_signed_time_gives_network_time_and_a_slow_courier_only_widens_it() -> None:
    system = OperatingSystemTime(realtime=0)
    clock = SystemClock(system)
    assert clock.discipline_token(mono_us=0, utc_us=TODAY_US, error_us=30 * SECOND)
    now = clock.now()
    assert now.clock is ClockClass.NETWORK
    assert now.error_us is not None
    assert now.error_us >= 30 * SECOND


def test_signed_time_that_travelled_too_long_is_refused() -> None:
    clock = SystemClock(OperatingSystemTime(realtime=0))
    assert not clock.discipline_token(mono_us=0, utc_us=TODAY_US, error_us=3_600 * SECOND)


def test_contradicting_sources_give_the_lower_class_an_interval_over_both_and_one_count() -> None:
    clock = SystemClock(OperatingSystemTime(kernel_error=10_000))
    clock.discipline_gnss(utc_us=TODAY_US + 3_600 * SECOND, arrival_mono_us=0)
    now = clock.now()
    clock.now()
    assert now.clock is ClockClass.NETWORK
    assert now.utc_us is not None
    assert now.error_us is not None
    assert now.utc_us - now.error_us <= TODAY_US
    assert now.utc_us + now.error_us >= TODAY_US + 3_600 * SECOND
    assert clock.contradictions == 1


def test_stale_gnss_gives_way_to_a_kept_kernel_clock() -> None:
    system = OperatingSystemTime(kernel_error=10_000)
    clock = SystemClock(system)
    clock.discipline_gnss(utc_us=TODAY_US, arrival_mono_us=0)
    assert clock.now().clock is ClockClass.GNSS
    system.pass_seconds(3_600)
    assert clock.now().clock is ClockClass.NETWORK


@given(
    latency_us=st.integers(0, GNSS_LATENCY_MAX_US),
    drift_ppm=st.integers(-DRIFT_PPM, DRIFT_PPM),
    age_s=st.integers(0, 86_400),
)
def test_the_interval_holds_the_true_time_whatever_the_clock_drifts(
    latency_us: int, drift_ppm: int, age_s: int
) -> None:
    system = OperatingSystemTime(realtime=0)
    clock = SystemClock(system)
    system.boottime += 10 * SECOND
    clock.discipline_gnss(utc_us=TODAY_US - latency_us, arrival_mono_us=10 * SECOND)  # true time is TODAY_US
    elapsed_true = age_s * SECOND
    system.boottime += elapsed_true + elapsed_true * drift_ppm // 1_000_000
    now = clock.now()
    assert now.utc_us is not None
    assert now.error_us is not None
    # One part in 10^6 of the drift itself is beyond the model (ppm of ppm), and integer division rounds by 1.
    slack = 2 + elapsed_true * DRIFT_PPM**2 // 10**12
    assert abs(now.utc_us - (TODAY_US + elapsed_true)) <= now.error_us + slack


def test_linux_tells_its_time_without_any_privilege() -> None:
    linux = LinuxTime()
    assert linux.boottime_us() <= linux.boottime_us()
    error = linux.kernel_error_us()
    assert error is None or error >= 0
