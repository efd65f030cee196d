"""Who may do what at the simulated broker: the access list, and the plugins through which amqtt asks.

Rules: a device publishes below `tbox/1/<CN>/up/` and subscribes below `tbox/1/<CN>/down/`; a bridge does
the mirror image for every device; anything else is refused. Nothing is retained. The list is written from
the wire contract, not taken from the product, so that a mistake there is not repeated here.

Example:
    >>> [may("ab12", Action.PUBLISH, topic) for topic in ("tbox/1/ab12/up/batch", "tbox/1/cd34/up/batch")]
    [True, False]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amqtt.broker import BrokerContext
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin, BaseTopicPlugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from amqtt.broker import RetainedApplicationMessage
    from amqtt.session import ApplicationMessage, Session

PREFIX = ["tbox", "1"]
BRIDGE = "bridge"
TOPIC_LEVELS_MIN = 5  # prefix, version, device, direction, kind


def is_bridge(client_id: str) -> bool:
    """Whether this client id is a bridge's: `bridge`, or `bridge-` and a suffix when several run."""
    return client_id == BRIDGE or client_id.startswith(f"{BRIDGE}-")


def may(client_id: str, action: Action, topic: str) -> bool:
    """Whether the access list lets a client do this with this topic or filter.

    Args:
        client_id: already proved to be the certificate's common name.
        action: publish, subscribe, or receive (asked again when a message is handed out).
        topic: a topic name; for subscribe a filter, with wildcards only where they stay inside what is
            allowed.
    """
    levels = topic.split("/")
    if len(levels) < TOPIC_LEVELS_MIN or levels[:2] != PREFIX:
        return False
    if action is Action.PUBLISH and ("+" in levels or "#" in levels):
        return False
    device, direction = levels[2], levels[3]
    sends = action is Action.PUBLISH
    if is_bridge(client_id):
        return device != "#" and direction == ("down" if sends else "up")
    return device == client_id and direction == ("up" if sends else "down")


@dataclass(slots=True, kw_only=True)
class Courier:
    """What the fault points make of messages, and counters, so that a test can say that it happened.

    Attributes:
        loses: asked for each delivery (client id, topic); true loses the message.
        sees: told of each message that was rightly published (topic, payload): what a hostile broker knows.
        lost: deliveries lost so.
        refused_publish: publishes that the access list discarded (acknowledged all the same: MQTT 3.1.1).
        refused_by: why a CONNECT was turned away, one entry each.
    """

    loses: Callable[[str, str], bool] = lambda _client, _topic: False
    sees: Callable[[str, bytes], None] = lambda _topic, _payload: None
    lost: int = 0
    refused_publish: int = 0
    refused_by: list[str] = field(default_factory=list)


class DoorDecided(BaseAuthPlugin):  # type: ignore[misc] # amqtt has no types
    """Admit whom the door let through: it compared certificate and client id before amqtt saw the CONNECT."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Return true: only the door hands connections over."""
        return session.client_id is not None


class AccessList(BaseTopicPlugin):  # type: ignore[misc] # amqtt has no types
    """The access list, and the place where a message can be lost on purpose."""

    @dataclass
    class Config:
        """The broker's `Courier`, untyped because amqtt checks this class at run time."""

        courier: Any = None

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Return whether an MQTT session may do this with a topic, and count what is refused or lost."""
        if session is None or session.client_id is None or topic is None or action is None:
            return False
        courier: Courier = self.config.courier
        if not may(session.client_id, action, topic):
            courier.refused_publish += action is Action.PUBLISH
            return False
        if action is Action.RECEIVE and courier.loses(session.client_id, topic):
            courier.lost += 1
            return False
        return True


class Witness(BasePlugin[BrokerContext]):  # type: ignore[misc] # amqtt has no types
    """Tell the courier what goes through the broker."""

    @dataclass
    class Config:
        """The broker's `Courier`, untyped because amqtt checks this class at run time."""

        courier: Any = None

    async def on_broker_message_broadcast(self, *, client_id: str, message: ApplicationMessage) -> None:
        """Show the courier one message."""
        del client_id
        self.config.courier.sees(message.topic, bytes(message.data))


class NothingRetained(BasePlugin[BrokerContext]):  # type: ignore[misc] # amqtt has no types
    """Forget every retained message as it arrives; what waits for an absent client is not touched."""

    async def on_broker_retained_message(
        self, *, client_id: str | None, retained_message: RetainedApplicationMessage
    ) -> None:
        """Drop what a publisher asked to retain."""
        if client_id is None:
            self.context.retained_messages.pop(retained_message.topic, None)


def configuration(courier: Courier) -> BrokerConfig:
    """Return amqtt's settings: it opens no socket itself, connections come from the door."""
    return BrokerConfig(
        listeners={"default": ListenerConfig(type=ListenerType.EXTERNAL)},
        plugins={
            f"{__name__}.{DoorDecided.__name__}": {},
            f"{__name__}.{AccessList.__name__}": {"courier": courier},
            f"{__name__}.{Witness.__name__}": {"courier": courier},
            f"{__name__}.{NothingRetained.__name__}": {},
        },
    )
