"""What there is to say about a reading once settings were made of it: unknown, retired, ignored, not built."""

from collections.abc import Iterator

from blick.conf.catalog import BACKEND_DEFAULTS, RESERVED_STORES, driver_options
from blick.conf.findings import Finding
from blick.conf.reading import Reading
from blick.conf.retired import RETIRED, RETIRED_GROUPS, Retired
from blick.conf.sources import group_name
from blick.model.import_job import METHODS

# Options that settings carry for the sake of what is shown, though nothing works by them in this version.
_NOT_BUILT = frozenset(
    {
        ("DEFAULT", "image_cache_dir"),
    }
)
_SINGLE_STORE = frozenset({("glance_store", "stores"), ("glance_store", "default_store")})
_NOT_IN_MULTI_STORE = "has no effect beside enabled_backends; each store has its own group."


def remarks(reading: Reading) -> tuple[Finding, ...]:
    """Everything but errors, each option at most once."""
    return (*_about_lines(reading), *_about_variables(reading), *_about_values(reading))


def _about_lines(reading: Reading) -> Iterator[Finding]:
    multi_store = bool(reading.get("DEFAULT", "enabled_backends"))
    known = {(group_name(group), name) for group, name in reading.known}
    drivers = {("glance_store", name) for option in driver_options() for name in (option.name, *option.old_names)}
    if not multi_store:
        # Drivers that are not loaded may keep their options there.
        known |= drivers
    groups = {group for group, _ in known} | {group for group, _ in RETIRED}
    seen: set[tuple[str, str]] = set()
    for file in reading.files:
        for group in sorted(
            {group for group, _ in file.values} - groups - RETIRED_GROUPS - {group for group, _ in seen}
        ):
            seen.add((group, ""))
            yield _about_group(group, file.where(group))
        for place, lines in file.values.items():
            if place in known or place in seen or place[0] not in groups:
                continue
            seen.add(place)
            if place in drivers:
                yield Finding("warning", "ignored", *place, _NOT_IN_MULTI_STORE, file.where(*place))
            else:
                yield from _about_line(*place, lines[-1], file.where(*place))


def _about_group(group: str, place: str) -> Finding:
    # A group of multi-store mode becomes known only in that mode.
    if group in (BACKEND_DEFAULTS, *RESERVED_STORES):
        return Finding("warning", "ignored", group, "", "has no effect without enabled_backends.", place)
    return Finding("warning", "unknown-group", group, "", "is not a group that Blick knows.", place)


def _about_line(group: str, name: str, value: str, place: str) -> Iterator[Finding]:
    retired = RETIRED.get((group, name))
    if retired is None:
        hint = " Names are written with _." if "-" in name else ""
        yield Finding("warning", "unknown-option", group, name, f"is not an option that Blick knows.{hint}", place)
    elif retired.counts(value):
        yield _retired(group, name, retired, place)


def _retired(group: str, name: str, retired: Retired, place: str) -> Finding:
    if retired.action == "refuse-when-false":
        return Finding("error", "wrong", group, name, retired.text, place)
    return Finding("warning", "retired", group, name, retired.text, place)


def _about_variables(reading: Reading) -> Iterator[Finding]:
    for variable in reading.unknown_variables():
        group, name = variable.removeprefix("OS_").split("__", 1)
        text = "is not an option that Blick knows."
        yield Finding("warning", "unknown-option", group.lower(), name.lower(), text, variable)


def _about_methods(reading: Reading) -> Iterator[Finding]:
    place = ("DEFAULT", "enabled_import_methods")
    for name in reading.get(*place):
        if name not in METHODS:
            text = f"{name!r:.80} is not an import method that Blick knows ({', '.join(METHODS)})."
            yield Finding("warning", "ignored", *place, text, reading.place(*place))


def _about_values(reading: Reading) -> Iterator[Finding]:
    yield from _about_methods(reading)
    for known in reading.set_options():
        place = (known.group, known.option.name)
        if place in _SINGLE_STORE and place not in reading.used:
            yield Finding("warning", "ignored", *place, _NOT_IN_MULTI_STORE, known.place)
            continue
        if known.option.keep == "no":
            text = f"has no effect ({known.option.meaning})."
            yield Finding("warning", "ignored", *place, text, known.place)
            continue
        if known.option.deprecated:
            text = f"is deprecated since {known.option.deprecated}; it still counts."
            yield Finding("info", "deprecated", *place, text, known.place)
        default = known.option.default
        if known.value not in (default, "", ("",)) and (place not in reading.used or place in _NOT_BUILT):
            text = f"nothing works by it in this version ({known.option.meaning})."
            yield Finding("info", "not-yet", *place, text, known.place)
