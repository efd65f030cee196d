"""The gate from screen to go token: what is signed, and what every step asks again."""

from tests.builders.gate import GateWorld, token_fields


def test_an_eligible_lock_gets_the_third_signature_and_a_go_token() -> None:
    world = GateWorld()
    answer = world.lock()
    assert (world.last_screen.verdict, answer.verdict) == ("ELIGIBLE", "SIGNED"), answer.detail
    go = world.go()
    assert go.verdict == "GO", go.detail
    assert token_fields(go)[5] == 1
    assert token_fields(go)[7] == [4, 19]
