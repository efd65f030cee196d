"""The fields of orders and of what goes with them, read strictly by the table of forms.

Rules (C-08): a payload is a map with exactly the keys its kind or type names, each of exactly the form the
table gives; a key more, a key fewer, a type or a range is refused. Forms are data: tuples that `fits` reads.
Keys 1, 2, 3 and 5 of an order (version, cmd_id, type, mcu_id) keep their meaning in every version, so that an
order of another version can still be answered by name.

This module does not compare a field with the device's state: that is `orders_reader`. It has no annotations,
see `strict_cbor`.

Example:
    >>> fits(7, ("uint", 1, 9)), fits(7.5, ("uint", 1, 9)), fits(True, ("uint", 0, 1))
    (True, False, False)
"""

from protocol import strict_cbor
from protocol.orders_forms import BYTES16, FORMS, HASH, ORDER, ORDER_KEYS, OTHER_FORMS
from protocol.orders_vocabulary import CLASS, TRACE


class FieldError(ValueError):
    """A field is not of its form; `args[0]` says which, as `order[12]`."""


def read_order(data):
    """Read an order's payload.

    Args:
        data: bytes of the payload.

    Returns:
        The map, and whether version and type are known: if not, only keys 1, 2, 3 and 5 were checked.

    Raises:
        CBORError: not strict CBOR.
        FieldError: not exactly the keys and forms of its type.
    """
    order = strict_cbor.loads(data)
    if not isinstance(order, dict):
        raise FieldError("order")
    for key, form in ((1, ("uint", 1, 255)), (2, BYTES16), (3, ("uint", 1, 255)), (5, HASH)):
        if key not in order or not fits(order[key], form):
            raise FieldError("order[%d]" % key)
    if order[1] != 1 or order[3] not in CLASS:
        return order, False
    _exactly("order", order, {key: order_form(order[3], key) for key in ORDER_KEYS[order[3]]})
    if order[3] == TRACE and order[26][1] > order[26][2]:
        raise FieldError("order[26]")
    return order, True


def order_form(order_type, key):
    """Return the form of a key in orders of a type."""
    return OTHER_FORMS.get(order_type, {}).get(key, ORDER[key])


def read_document(kind, data):
    """Read the payload of a document that is no order.

    Raises:
        CBORError: not strict CBOR.
        FieldError: not exactly the keys and forms of its kind.
    """
    value = strict_cbor.loads(data)
    if not isinstance(value, dict):
        raise FieldError(kind)
    _exactly(kind, value, FORMS[kind])
    return value


def _exactly(name, value, forms):
    for key in value:
        if key not in forms:
            raise FieldError("%s[%s]" % (name, key))
    for key, form in forms.items():
        if key not in value or not fits(value[key], form):
            raise FieldError("%s[%s]" % (name, key))


def fits(value, form):
    """Return whether a value has a form.

    Forms: ("uint", low, high), ("int", low, high), ("bytes", shortest, longest), ("text", shortest, longest;
    bytes of UTF-8), ("bool",), ("null",), ("or", form …), ("tuple", form …), ("list", form, fewest, most),
    ("map", {key: form}) with all keys, ("some", {key: form}) with any of them.
    """
    kind = form[0]
    if kind == "or":
        return any(fits(value, other) for other in form[1:])
    if kind == "null":
        return value is None
    if kind == "bool":
        return value is True or value is False
    if value is True or value is False or value is None:
        return False
    if kind in ("uint", "int"):
        return isinstance(value, int) and form[1] <= value <= form[2]
    if kind == "bytes":
        return isinstance(value, bytes) and form[1] <= len(value) <= form[2]
    if kind == "text":
        return isinstance(value, str) and form[1] <= len(value.encode()) <= form[2]
    if kind == "tuple":
        return isinstance(value, list) and len(value) == len(form) - 1 and _all_fit(value, form[1:])
    if kind == "list":
        return (
            isinstance(value, list)
            and form[2] <= len(value) <= form[3]
            and _all_fit(value, [form[1]] * len(value))
        )
    if not isinstance(value, dict) or (kind == "map" and len(value) != len(form[1])):
        return False
    return all(key in form[1] and fits(value[key], form[1][key]) for key in value)


def _all_fit(values, forms):
    return all(fits(values[at], forms[at]) for at in range(len(values)))
