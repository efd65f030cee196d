"""The statements of a DBC file as regular expressions: the exact form, and the loose one that is understood.

Rules:
- An exact form matches what cantools' parser accepts for that statement, token by token, and nothing else.
  Tokens are atomic: a number or name is taken whole or not at all, as a tokenizer does.
- A loose form knows what decoding needs, and only where its meaning is beyond doubt.
- Between tokens there may be white space and `//` comments, as cantools has it.

It reads no file and repairs nothing.

Example:
    >>> EXACT["BO_"].match("BO_ 100 Motion: 8 ECU")["name"]
    'Motion'
    >>> EXACT["BO_"].match("BO_ 100 7Motion: 8 ECU") is None
    True
"""

from __future__ import annotations

import re

KEYWORDS = (
    "BA_",
    "BA_DEF_",
    "BA_DEF_DEF_",
    "BA_DEF_DEF_REL_",
    "BA_DEF_REL_",
    "BA_DEF_SGTYPE_",
    "BA_REL_",
    "BA_SGTYPE_",
    "BO_",
    "BO_TX_BU_",
    "BS_",
    "BU_",
    "BU_BO_REL_",
    "BU_EV_REL_",
    "BU_SG_REL_",
    "CAT_",
    "CAT_DEF_",
    "CM_",
    "ENVVAR_DATA_",
    "EV_",
    "EV_DATA_",
    "FILTER",
    "NS_",
    "NS_DESC_",
    "SG_",
    "SG_MUL_VAL_",
    "SGTYPE_",
    "SGTYPE_VAL_",
    "SIG_GROUP_",
    "SIG_TYPE_REF_",
    "SIG_VALTYPE_",
    "SIGTYPE_VALTYPE_",
    "VAL_",
    "VAL_TABLE_",
    "VERSION",
)

_DECISIVE = {
    *("BO_", "SG_", "SG_MUL_VAL_", "SIG_VALTYPE_", "VAL_"),
    *("SGTYPE_", "SGTYPE_VAL_", "SIG_TYPE_REF_", "SIGTYPE_VALTYPE_"),
}

IDLE_KEYWORDS = frozenset(KEYWORDS) - _DECISIVE
"""Those of statements that have no part in decoding, but for four attributes (`dbc_references`)."""

_ANY_KEYWORD = "(?:" + "|".join(sorted(KEYWORDS, key=len, reverse=True)) + r")(?!\w)"

_GAP = r"(?:[ \r\n\t]|//[^\n]*\n)*+"
_NUMBER = r"(?>[-+]?\d+\.?\d*(?:[eE][+-]?\d+)?)"
_WORD = rf"(?!{_ANY_KEYWORD})(?>[A-Za-z_]\w*)"
_STRING = r'(?>"(?:\\"|[^"]){0,65535}?")'  # bounded, so that one open quote costs no more than that

_UNIT = r'(?>"(?:\\"|[^"\n])*?")'  # in one line: a quote that is never closed must not take the next signal

# What a person means by a number, `.25` included.
_LOOSE_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"

# N number, W word, S string, U unit, all else as it stands; a blank is a gap between tokens.
_FORMS = {
    "VERSION": "VERSION S",
    "NS_": r"NS_ :(?: (?>[A-Za-z_]\w*)(?! :))*+",
    "BS_": "BS_ :",
    "BU_": "BU_ :(?: W)*+",
    "BO_": "BO_ (?P<id>N) (?P<name>W) : (?P<length>N) W",
    "SG_": (
        r"SG_ (?P<name>W) (?:(?P<mux>W) )?: (?P<start>N) \| (?P<bits>N) @ (?P<order>N) (?P<sign>[+-]) "
        r"\( (?P<scale>N) , (?P<offset>N) \) \[ N \| N \] (?P<unit>U) W(?: , W)*+"
    ),
    "VAL_": "VAL_ (?:(?P<id>N) )?(?P<name>W)(?P<pairs>(?: N S)*+) ;",
    "VAL_TABLE_": "VAL_TABLE_ W(?: N S)*+ ;",
    "SIG_VALTYPE_": "SIG_VALTYPE_ (?P<id>N) (?P<name>W) : (?P<type>N) ;",
    "SG_MUL_VAL_": ("SG_MUL_VAL_ (?P<id>N) (?P<name>W) (?P<switch>W) (?P<ranges>N N(?: , N N)*+) ;"),
    "CM_": "CM_ (?:SG_ N W |BO_ N |EV_ W |BU_ W )?S ;",
    "BA_DEF_": "BA_DEF_ (?:(?:SG_|BO_|EV_|BU_) )?(?P<attribute>S) W(?: S(?: , S)*+|(?: N)*+) ;",
    "BA_DEF_DEF_": "BA_DEF_DEF_ (?P<attribute>S) (?:N|S) ;",
    "BA_": (
        "BA_ (?P<attribute>S)(?: BO_ (?P<message>N)| SG_ (?P<owner>N) (?P<name>W)| BU_ W| EV_ W)? "
        "(?P<value>N|S) ;"
    ),
    "BA_DEF_REL_": "BA_DEF_REL_ (?:(?:BU_SG_REL_|BU_BO_REL_|BU_EV_REL_) )?S W(?: S(?: , S)*+|(?: N)++)? ;",
    "BA_DEF_DEF_REL_": "BA_DEF_DEF_REL_ S (?:N|S) ;",
    "BA_REL_": "BA_REL_ S (?:BU_SG_REL_ W SG_ N W|BU_BO_REL_ W N) (?:N|S) ;",
    "SIG_GROUP_": "SIG_GROUP_ N W N :(?: W)*+ ;",
    "BO_TX_BU_": "BO_TX_BU_ N : W(?: , W)*+ ;",
    "EV_": r"EV_ W : N \[ N \| N \] S N N W W(?: , W)*+ ;",
    "ENVVAR_DATA_": "ENVVAR_DATA_ W : N ;",
}


def _compiled(form: str) -> re.Pattern[str]:
    pattern = re.sub(r"(?<![A-Za-z_])([NWSU])(?![A-Za-z_])", r"{\1}", form).replace(" ", _GAP)
    for letter, token in (("N", _NUMBER), ("W", _WORD), ("S", _STRING), ("U", _UNIT)):
        pattern = pattern.replace("{" + letter + "}", token)
    return re.compile(pattern, re.ASCII)


EXACT = {keyword: _compiled(form) for keyword, form in _FORMS.items()}
"""The exact form by keyword."""

GAP = re.compile(_GAP)
KEYWORD = re.compile(_ANY_KEYWORD, re.ASCII)
NEXT_STATEMENT = re.compile(rf"^[ \t]*(?={_ANY_KEYWORD})", re.ASCII | re.MULTILINE)
"""A line that begins with a keyword: where reading goes on after a statement that is none."""

END_IN_LINE = re.compile(
    rf"\n|(?<=[\s\";])(?!FILTER|VERSION){_ANY_KEYWORD}(?=[ \t]++(?!:|{_ANY_KEYWORD})\S)", re.ASCII
)
"""The end of a line, or a statement in it: a keyword that is no name of a message or signal."""

NAME = re.compile(_WORD, re.ASCII)
STRING = re.compile(_STRING)
VALUE_TEXT = re.compile(rf"({_NUMBER}){_GAP}({_STRING})", re.ASCII)

_LOOSE_FORMS = {
    "BO_": r"BO_ (?P<id>\d++)\s++(?P<name>[^\s:\"]++) : (?P<length>\d++)(?!\S)",
    "SG_": (
        r"SG_ (?P<name>[^\s:\"]++) (?:(?P<mux>M|m\d+M?) )?: (?P<start>\d+) \| (?P<bits>\d+) @ "
        r"(?P<order>[01]) (?P<sign>[+-]) \( (?P<scale>F) , (?P<offset>F) \)(?P<rest>[^\n]*)"
    ),
    "VAL_": r'VAL_ (?P<id>\d++)\s++(?P<name>[^\s:"]++) (?P<pairs>(?:-?\d+ "[^"\\\n]*" )++);? \Z',
    "SIG_VALTYPE_": r"SIG_VALTYPE_ (?P<id>\d++)\s++(?P<name>[^\s:;,\"]++) :? (?P<type>[0-3]) ;? \Z",
    "SG_MUL_VAL_": (
        r"SG_MUL_VAL_ (?P<id>\d++)\s++(?P<name>[^\s:;,\"]++) (?P<switch>[^\s:;,\"]++) "
        r"(?P<ranges>\d+ - \d+(?: , \d+ - \d+)*+) ;? \Z"
    ),
}


def _loosened(form: str) -> re.Pattern[str]:
    return re.compile(form.replace("F", _LOOSE_NUMBER).replace(" ", r"\s*+"), re.ASCII)


LOOSE = {keyword: _loosened(form) for keyword, form in _LOOSE_FORMS.items()}
"""What is understood although it is not exact, by keyword."""

NAMED = re.compile(r"SG_MUL_VAL_\s+(?P<id>\d++)\s+(?P<name>[^\s:\";]+)", re.ASCII)
"""The message and signal that broken multiplexer values are about."""

LIKE_A_SIGNAL = re.compile(r":\s*\d+\s*\|\s*\d+\s*@|\([^(),]*,[^(),]*\)\s*\[")
"""What only a signal has: its place, or its factors before its range."""

LIKE_A_MESSAGE = re.compile(r"\w*\s*\d+\s+[^\s:]+\s*:\s*\d++(?!\s*\|)", re.ASCII)
"""What begins as a message does: number, name and length."""

SECOND_SIGNAL = re.compile(r"\S.*\bSG_(?!\w)", re.ASCII)
"""A signal behind the begin of a line."""

SIMPLE_STRING = re.compile(r'"[^"\\\n]{0,255}"')
"""A short string without anything that needs care."""
