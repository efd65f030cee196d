"""The page's HTML: small, without script, every foreign word escaped, English or Chinese.

Rules: no external resource, no script at all (the CSP forbids it); one form a decision, each with the page's
own secret; unlock stands beside every car and is one step away (screens.md 9).

Example:
    >>> document("Orders", "<p>none</p>", "en", "/token")[:15]
    '<!doctype html>'
"""

from collections.abc import Iterable, Mapping
from html import escape

from backend.lender.plain import shown
from backend.lender.words import PAGE_WORDS, REASON_CODES

STYLE = """
:root{color-scheme:light dark;--line:#8884;--stop:#b3261e;--go:#146c2e}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;margin:0 auto;
max-width:60rem;padding:1rem}
header{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line)}
h1{font-size:1.25rem;margin:.5rem 0}h2{font-size:1.05rem;margin:1.5rem 0 .5rem}
.card{border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem;margin:.75rem 0}
.head{font-size:1.1rem;font-weight:600;margin:.25rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .5rem .25rem 0;
border-top:1px solid var(--line);overflow-wrap:anywhere}th{font-weight:400;opacity:.75;width:34%}
.stop{border-left:.4rem solid var(--stop);padding:.25rem .75rem;margin:.5rem 0}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.5rem}
@media(max-width:40rem){.pair{grid-template-columns:1fr}}
button{font:inherit;padding:.5rem 1.1rem;border-radius:.4rem;border:1px solid var(--line);cursor:pointer}
.go{background:var(--go);color:#fff}.no{background:none}label{display:block;margin:.5rem 0}
input,select{font:inherit;padding:.4rem;max-width:100%}.quiet{opacity:.75}form{margin:.5rem 0}
"""


def document(title: str, body: str, language: str, home: str) -> str:
    """Return a whole page."""
    other = "zh" if language == "en" else "en"
    switch = f'<a href="{escape(home)}/?lang={other}">{ {"en": "English", "zh": "中文"}[other] }</a>'
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f'<link rel="stylesheet" href="{escape(home)}/style.css"></head><body><header>'
        f'<h1><a href="{escape(home)}/">tbox lender</a> · {escape(title)}</h1><p>{switch}</p></header>'
        f"<main>{body}</main></body></html>"
    )


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a table."""
    lines = (
        f"<tr><th scope=row>{escape(shown(name))}</th><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return f"<table>{''.join(lines)}</table>"


def stop(text: str) -> str:
    """Return a sentence at which a person should stop."""
    return f'<p class=stop role="alert">{escape(text)}</p>'


def form(action: str, secret: str, inside: str, button: str, *, kind: str = "go") -> str:
    """Return a form with one button."""
    return (
        f'<form method=post action="{escape(action)}" autocomplete=off>'
        f'<input type=hidden name=secret value="{escape(secret)}">{inside}'
        f"<button class={kind}>{escape(button)}</button></form>"
    )


def approval_fields(language: str) -> str:
    """Return what the checker fills in: his own reason, and the car's last four."""
    words = PAGE_WORDS
    options = "".join(
        f'<option value="{code}">{escape(texts[language])}</option>' for code, texts in REASON_CODES.items()
    )
    return (
        f"<label>{words['reason'][language]}<br><select name=reason required><option value=''></option>"
        f"{options}</select></label>"
        f"<label>{words['last4'][language]}<br><input name=last4 required maxlength=4 size=6></label>"
    )


def request_fields(language: str) -> str:
    """Return what the maker fills in: which order, and the basis bundle's file on this machine."""
    words = PAGE_WORDS
    kinds = "".join(f"<option value={kind}>{kind.upper()}</option>" for kind in ("warn", "lock", "renew"))
    return (
        f"<label>{words['kind'][language]}<br><select name=kind>{kinds}</select></label>"
        f"<label>{words['basis'][language]}<br><input name=basis required size=40></label>"
    )


def order_list(items: Iterable[Mapping[str, object]], home: str, language: str) -> str:
    """Return the orders as the server lists them, each leading to its verified view."""
    rows = []
    for one in items:
        kind, stage, name = (escape(shown(one.get(key))) for key in ("type", "stage", "cmd_id"))
        rows.append(
            f"<div class=card><p class=head>{kind} · {stage}</p><p class=quiet>{name}</p>"
            f'<p><a href="{escape(home)}/orders/{name}">{PAGE_WORDS["look"][language]}</a></p></div>'
        )
    return "".join(rows) or f"<p>{PAGE_WORDS['nothing'][language]}</p>"
