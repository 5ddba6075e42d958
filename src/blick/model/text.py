"""Which texts every supported database can keep."""

from blick.model.errors import Invalid


def refuse_unstorable(value: object, what: str) -> None:
    """Raise `Invalid` when a string in `value` (a JSON value, keys included) cannot be stored everywhere.

    Refused are NUL, lone surrogates and characters that take four bytes in UTF-8: MySQL's three-byte
    character set, which existing databases use, has no place for the last.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            _refuse_text(item, what)
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def is_storable(text: str) -> bool:
    """Could any database hold this text? If not, nothing that is stored equals it."""
    return _fault(text) is None


def _refuse_text(text: str, what: str) -> None:
    fault = _fault(text)
    if fault is not None:
        raise Invalid(f"{what} {fault}.")


def _fault(text: str) -> str | None:
    if "\x00" in text:
        return "must not contain the character NUL"
    if text.isascii():
        return None
    if max(text) > "\uffff":
        return "must not contain characters that take four bytes in UTF-8"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "is not valid Unicode text"
    return None
