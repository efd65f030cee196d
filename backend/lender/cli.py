"""`tbox lender`: everything an officer types.

Example:
    $ tbox lender key new maker.key
    $ tbox lender request lock DEVICE --basis case.basis
"""

import typer

from backend.lender.ceremony_cli import delegation_app, revoke, root_app
from backend.lender.key_cli import key_app
from backend.lender.output import ReportingGroup

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
