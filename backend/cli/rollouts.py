"""`tbox backend rollout`: begin, watch and turn rollouts on the server itself.

Rules: the operator at the server's keyboard acts as `cli:<name>`; the next stage is approved under another
name than the maker's, as over the API.

Example:
    $ tbox backend rollout begin 7 --by ann --home /srv/tbox
    $ tbox backend rollout approve 5a5a… --by ben --reason "a day without complaints" --home /srv/tbox
"""

from typing import Annotated

import typer

from backend.cli.opening import Instance, open_instance, shown_time
from backend.cli.output import AsJson, Home, Org, Record, refuse, show, show_list
from backend.clock import utc_us
from backend.domain.refusal import Refusal
from backend.domain.rollout import STAGES_DEFAULT, RolloutEvent
from backend.store.contention import in_transaction
from backend.store.rollouts import list_rollouts
from backend.usecases.rollouts import RolloutView, make_rollout, turn_rollout, view_rollout

ROLLOUTS_SHOWN_MAX = 50

rollout_app = typer.Typer(no_args_is_help=True, help="Rollouts of releases: in stages, stopped by vehicles.")

By = Annotated[str, typer.Option(max=24, help="Your name; the maker does not approve.")]
Id = Annotated[str, typer.Argument(help="Id of the rollout.")]
Why = Annotated[str, typer.Option(help="Why, for whoever reads it later.")]


@rollout_app.command(epilog="Example: tbox backend rollout begin 7 --stages 1,10,100 --by ann")
def begin(
    release: Annotated[int, typer.Argument(min=1, help="Number of a release in the repository.")],
    *,
    by: By,
    stages: Annotated[str, typer.Option(help="Parts of the fleet in percent.")] = ",".join(
        map(str, STAGES_DEFAULT)
    ),
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let a release reach the first stage."""
    try:
        parts = tuple(int(part) for part in stages.split(","))
    except ValueError:
        raise typer.BadParameter("stages are numbers with commas, as 1,10,100") from None
    with open_instance(home) as instance, instance.database.writing() as session:
        org_id, now_us = instance.org_id(org), utc_us()

        def work() -> RolloutView | Refusal:
            made = make_rollout(
                session, org_id=org_id, by=f"cli:{by}", release=release, stages=parts, now_us=now_us
            )
            return made if isinstance(made, Refusal) else view_rollout(session, made, now_us=now_us)

        outcome = in_transaction(session, work)
        _show(outcome, as_json=as_json)


@rollout_app.command("list", epilog="Example: tbox backend rollout list --json")
def list_all(*, org: Org = None, home: Home = None, as_json: AsJson = False) -> None:
    """Show all rollouts, newest first."""
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        with instance.database.reading() as session:
            rows = list_rollouts(session, org_id=org_id, limit=ROLLOUTS_SHOWN_MAX)
            records = [_record(view_rollout(session, row, now_us=utc_us())) for row in rows]
    show_list(records, as_json=as_json, empty="no rollout yet: `tbox backend rollout begin`")


@rollout_app.command(epilog="Example: tbox backend rollout pause 5a5a… --by ann --reason 'a question'")
def pause(
    rollout: Id, *, by: By, reason: Why, org: Org = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Give the release to no further box, until resumed."""
    _turn(home, org, rollout, RolloutEvent.PAUSE, by=by, reason=reason, as_json=as_json)


@rollout_app.command(epilog="Example: tbox backend rollout resume 5a5a… --by ann --reason answered")
def resume(
    rollout: Id, *, by: By, reason: Why, org: Org = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Go on after a pause."""
    _turn(home, org, rollout, RolloutEvent.RESUME, by=by, reason=reason, as_json=as_json)


@rollout_app.command(epilog="Example: tbox backend rollout approve 5a5a… --by ben --reason 'a quiet day'")
def approve(
    rollout: Id, *, by: By, reason: Why, org: Org = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Let the next stage begin; not by its maker."""
    _turn(home, org, rollout, RolloutEvent.APPROVE, by=by, reason=reason, as_json=as_json)


@rollout_app.command(epilog="Example: tbox backend rollout stop 5a5a… --by ann --reason 'cars drain'")
def stop(
    rollout: Id, *, by: By, reason: Why, org: Org = None, home: Home = None, as_json: AsJson = False
) -> None:
    """End it for good; a better release has another number."""
    _turn(home, org, rollout, RolloutEvent.STOP, by=by, reason=reason, as_json=as_json)


def _turn(
    home: Home, org: Org, rollout: str, event: RolloutEvent, *, by: str, reason: str, as_json: bool
) -> None:
    with open_instance(home) as instance:
        _show(_turned(instance, org, rollout, event, by=by, reason=reason), as_json=as_json)


def _turned(
    instance: Instance, org: str | None, rollout: str, event: RolloutEvent, *, by: str, reason: str
) -> Record | Refusal:
    org_id = instance.org_id(org)
    with instance.database.writing() as session:
        outcome = in_transaction(
            session,
            lambda: turn_rollout(
                session,
                org_id=org_id,
                rollout_id=rollout,
                event=event,
                by=f"cli:{by}",
                reason=reason,
                now_us=utc_us(),
            ),
        )
        return outcome if isinstance(outcome, Refusal) else _record(outcome)


def _show(outcome: RolloutView | Record | Refusal, *, as_json: bool) -> None:
    if isinstance(outcome, Refusal):
        raise refuse(outcome.detail)
    show(_record(outcome) if isinstance(outcome, RolloutView) else outcome, as_json=as_json)


def _record(view: RolloutView) -> Record:
    row, outcomes = view.rollout, view.count.outcomes
    return {
        "rollout": row.rollout_id,
        "release": row.release,
        "state": row.state,
        "reason": row.reason,
        "stage": f"{row.stage + 1} of {len(view.stages)} ({view.stages[row.stage]} %)",
        "boxes": f"{view.count.given} of {view.expected}",
        "outcomes": ", ".join(f"{name} {boxes}" for name, boxes in outcomes.items() if boxes) or None,
        "begun": shown_time(row.created_us),
    }
