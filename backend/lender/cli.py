"""`tbox lender`: everything an officer types.

Example:
    $ tbox lender key new maker.key
    $ tbox lender request lock DEVICE --basis case.basis
"""

import typer

from backend.lender.basis_cli import basis_app
from backend.lender.car_cli import authority_app, car_app
from backend.lender.ceremony_cli import delegation_app, revoke, root_app
from backend.lender.key_cli import key_app
from backend.lender.order_cli import approve, list_orders, request, resend, show_order, status, withdraw
from backend.lender.output import ReportingGroup
from backend.lender.page_cli import page
from backend.lender.release_cli import cancel, decommission, freeze, unlock

__all__ = ["app"]

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="For a lender's officers: keys, ceremonies, request, approve, unlock. Signs on this machine only.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 settings or pins, 5 key or passphrase, 6 not found, "
    "7 this tool refuses, 8 server.",
)
app.add_typer(key_app, name="key")
app.add_typer(root_app, name="root")
app.add_typer(delegation_app, name="delegation")
app.command(
    epilog="Example: tbox lender revoke --issuer lender:00112233aabbccdd --number 4 --person M-17 "
    "--key online.key --out revocation-4.cose"
)(revoke)
app.add_typer(car_app, name="car")
app.add_typer(authority_app, name="authority")
app.add_typer(basis_app, name="basis")
app.command(epilog="Example: tbox lender request lock 9f86…0a08 --basis case.basis")(request)
app.command(epilog="Example: tbox lender resend 0199c0ffee…")(resend)
app.command(epilog="Example: tbox lender approve 0199c0ffee… --reason-code FILE")(approve)
app.command("show", epilog="Example: tbox lender show 0199c0ffee…")(show_order)
app.command("list", epilog="Example: tbox lender list --stage AWAITING_CHECKER")(list_orders)
app.command(epilog="Example: tbox lender withdraw 0199c0ffee…")(withdraw)
app.command(epilog="Example: tbox lender status 9f86…0a08")(status)
app.command(epilog="Example: tbox lender unlock 9f86…0a08 --yes")(unlock)
app.command(epilog="Example: tbox lender cancel 9f86…0a08 --order 0199c0ffee…")(cancel)
app.command(epilog="Example: tbox lender decommission 9f86…0a08")(decommission)
app.command(
    epilog='Example: tbox lender freeze --reason "injected locks at lender 00112233aabbccdd" --key pkcs11:…'
)(freeze)
app.command(epilog="Example: tbox lender page --key checker.key")(page)
