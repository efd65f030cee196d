"""What mosquitto is told: the access list and the configuration as text, from one plan and the registry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.domain.broker_rules import BrokerPlan, access_list, configuration
from backend.domain.certificates import is_bridge_name
from protocol.limits import BRIDGE_QUEUE_MAX, PAYLOAD_BYTES_MAX

REVOKED = "ab" * 32
PLAN = BrokerPlan(folder="/srv/broker", user="mosquitto", port=8883, address=None, boxes=500)


def settings(plan: BrokerPlan) -> dict[str, str]:
    """Return the configuration as mosquitto reads it: a name and a value a line."""
    lines = [line for line in configuration(plan).splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition(" ") for line in lines) if name != "log_type"}


def test_every_box_has_its_own_topics_and_every_bridge_the_reverse_of_all() -> None:
    text = access_list(bridges=["bridge", "bridge-2"], revoked=[])
    assert text.count("pattern ") == 2
    for name in ("bridge", "bridge-2"):
        assert f"user {name}\ntopic read tbox/1/+/up/#\ntopic write tbox/1/+/down/#\n" in text
    assert "deny" not in text


def test_a_revoked_box_is_denied_every_topic() -> None:
    assert access_list(bridges=["bridge"], revoked=[REVOKED]).endswith(f"user {REVOKED}\ntopic deny #\n")


def test_only_a_certificate_of_our_authority_gets_in_and_its_name_is_the_client() -> None:
    told = settings(PLAN)
    assert told["require_certificate"] == "true"
    assert told["allow_anonymous"] == "false"
    assert told["use_identity_as_username"] == "true"
    assert told["use_username_as_clientid"] == "true"
    assert told["tls_version"] == "tlsv1.2"
    assert told["crlfile"] == "/srv/broker/crl.pem"


def test_limits_are_the_protocols_and_grow_with_the_number_of_boxes() -> None:
    small, large = settings(PLAN), settings(replace(PLAN, boxes=5_000))
    assert small["message_size_limit"] == str(PAYLOAD_BYTES_MAX)
    assert int(small["max_packet_size"]) > PAYLOAD_BYTES_MAX
    assert small["max_inflight_messages"] == str(BRIDGE_QUEUE_MAX)
    for name in ("max_connections", "max_queued_messages", "max_queued_bytes"):
        assert int(large[name]) > int(small[name])
    assert int(small["max_queued_messages"]) >= 20 * 500


def test_an_address_to_listen_on_is_named_when_it_is_given() -> None:
    assert settings(PLAN)["listener"] == "8883"
    here = replace(PLAN, address="127.0.0.1")
    assert settings(here)["listener"] == "8883 127.0.0.1"


@pytest.mark.parametrize(
    ("name", "is_bridge"),
    [
        ("bridge", True),
        ("bridge-2", True),
        ("bridges", False),
        ("broker", False),
        ("bridge-.example", False),
        (REVOKED, False),
    ],
)
def test_a_bridge_is_known_by_its_name(name: str, is_bridge: bool) -> None:  # noqa: FBT001 - a parameter's value
    assert is_bridge_name(name) is is_bridge
