"""Options with their values: from files, environment and command line, typed by oslo.config, each with its origin."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from oslo_config import cfg

from blick.conf.findings import Finding
from blick.conf.options.option import Option
from blick.conf.oslo_options import oslo_option
from blick.conf.retired import RETIRED_VALUES
from blick.conf.sources import ParsedFile, environment_options, group_name

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SetOption:
    """An option that somebody set: `value` is typed, `place` is the line, variable or argument it is known from."""

    group: str
    option: Option
    value: Any
    place: str


class Reading:
    """The options of one configuration. Wrong values become findings; the option then has its default.

    Overrides win over the environment, that over files, later files over earlier ones. Override keys are
    "group.name", or "name" for [DEFAULT]; their values are typed or as in a file.
    """

    def __init__(
        self, files: Sequence[ParsedFile], environment: Mapping[str, str], overrides: Mapping[str, Any]
    ) -> None:
        self.files = tuple(files)
        self.findings: list[Finding] = []
        self.known: set[Place] = {("DEFAULT", "config_source")}
        self.used: set[Place] = set()
        self._environment = environment
        self._variables = environment_options(environment)
        self._overrides = {_place_of(key): value for key, value in overrides.items()}
        self._options: dict[Place, Option] = {}
        self._values: dict[Place, Any] = {}
        self._places: dict[Place, str] = {}
        self._conf = cfg.ConfigOpts()
        # The files were parsed once already, for better messages; what is left to refuse is oslo.config's business.
        self._conf(
            args=[],
            project="glance",
            prog="blick",
            default_config_files=[str(file.path) for file in files],
            default_config_dirs=[],
            use_env=False,
        )

    def add(self, groups: Mapping[str, Iterable[Option]]) -> None:
        """Make options known and give them their values; those of one call may refer to each other with $name."""
        new = [(group, option) for group, options in groups.items() for option in options]
        new = [(group, option) for group, option in new if (group, option.name) not in self._options]
        for group, option in new:
            self._options[group, option.name] = option
            self.known.add((group, option.name))
            self._conf.register_opt(oslo_option(option), group=_oslo_group(group))
        for group, option in new:
            self._adopt_old_names(group, option)
            self._adopt_overrides(group, option)
        for group, option in new:
            self._values[group, option.name] = self._read(group, option)

    def get(self, group: str, name: str) -> Any:
        """The value of a known option: str, int, float, bool, tuple, dict or None. It counts as acted upon now."""
        self.used.add((group, name))
        return self._values[group, name]

    def text(self, group: str, name: str) -> str | None:
        """`get` for a text option where an empty value means the same as none."""
        return self.get(group, name) or None

    def networks(self, group: str, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """The addresses and networks of a list option; what is neither is noted as wrong."""
        found = []
        for text in self.get(group, name):
            try:
                found.append(ip_network(text, strict=False))
            except ValueError:
                self.wrong(group, name, f"{text} is neither an address nor a network.")
        return tuple(found)

    def is_set(self, group: str, name: str) -> bool:
        """Did anybody set it?"""
        return (group, name) in self._places

    def place(self, group: str, name: str) -> str:
        """The line of a file, variable or argument an option's value is from; empty for a default."""
        return self._places.get((group, name), "")

    def options_of(self, group: str) -> tuple[Option, ...]:
        """The known options of a group."""
        return tuple(option for (where, _), option in self._options.items() if where == group)

    def leftovers(self, group: str) -> dict[str, str]:
        """What files say in `group` about options that are not known: the last line of each, as it stands there."""
        found = {
            name: lines[-1]
            for file in self.files
            for (where, name), lines in file.values.items()
            if where == group_name(group) and (group, name) not in self._options
        }
        self.known |= {(group, name) for name in found}
        return found

    def set_options(self) -> tuple[SetOption, ...]:
        """Every option that somebody set, in the order in which they became known."""
        return tuple(
            SetOption(group, option, self._values[group, name], self._places[group, name])
            for (group, name), option in self._options.items()
            if (group, name) in self._places
        )

    def unknown_variables(self) -> tuple[str, ...]:
        """Environment variables that look like options and name none."""
        names = {(group.upper(), name.upper()) for group, name in self._options}
        return tuple(sorted(variable for place, variable in self._variables.items() if place not in names))

    def unknown_overrides(self) -> tuple[str, ...]:
        """Keys of overrides that name no option."""
        return tuple(sorted(f"{group}.{name}" for group, name in self._overrides if (group, name) not in self._options))

    def wrong(self, group: str, name: str, reason: str) -> None:
        """Note that the value of an option, taken for itself or with others, must not be started with."""
        place = self.place(group, name)
        self.findings.append(Finding("error", "wrong", group, name, reason, place))

    def warn(self, group: str, name: str, text: str) -> None:
        """Note that an option's value is doubtful."""
        self.findings.append(Finding("warning", "doubtful", group, name, text, self.place(group, name)))

    def not_yet(self, group: str, name: str, text: str) -> None:
        """Note that something works by a part of an option's value in other versions only."""
        self.findings.append(Finding("info", "not-yet", group, name, text, self.place(group, name)))

    def _last_file(self, place: Place) -> int:
        """Index of the last file that sets `place`, -1 if none does."""
        section = (group_name(place[0]), place[1])
        return max((index for index, file in enumerate(self.files) if section in file.values), default=-1)

    def _raw(self, place: Place, option: Option, index: int) -> Any:
        """The text of `place` in file `index`; all lines of all files for an option that may be repeated."""
        section = (group_name(place[0]), place[1])
        if option.kind == "multi-str":
            return [line for file in self.files for line in file.values.get(section, ())]
        return self.files[index].values[section][-1]

    def _adopt_old_names(self, group: str, option: Option) -> None:
        """Let the value of an old name count, if it is set in a later file than the name of today."""
        best_place, best = (group, option.name), self._last_file((group, option.name))
        for old in option.old_places(group):
            self.known.add(old)
            index = self._last_file(old)
            if index < 0:
                continue
            text = f"is an old name; write {option.name} in [{group}]."
            self.findings.append(Finding("warning", "deprecated", *old, text, self.files[index].where(*old)))
            if index > best:
                best_place, best = old, index
        if best < 0:
            return
        self._places[group, option.name] = self.files[best].where(*best_place)
        if best_place != (group, option.name):
            self._register_old(best_place, option)
            self._override(group, option, self._read(best_place[0], option, best_place[1]))
        elif not isinstance(raw := self._raw(best_place, option, best), list):
            self._pass_over_retired_value(group, option, raw)

    def _register_old(self, place: Place, option: Option) -> None:
        if place not in self._options:
            renamed = Option(place[1], option.kind, None, option.meaning, choices=option.choices)
            self._conf.register_opt(oslo_option(renamed), group=_oslo_group(place[0]))

    def _pass_over_retired_value(self, group: str, option: Option, raw: str) -> None:
        retired = RETIRED_VALUES.get((group, option.name, raw))
        if retired:
            place = self._places.pop((group, option.name))
            text = f"{raw} {retired.text}"
            self.findings.append(Finding("warning", "retired", group, option.name, text, place))
            self._conf.set_override(option.name, option.default, group=_oslo_group(group))

    def _adopt_overrides(self, group: str, option: Option) -> None:
        variable = self._variables.get((group.upper(), option.name.upper()))
        if (group, option.name) in self._overrides:
            self._places[group, option.name] = "command line"
            self._override(group, option, self._overrides[group, option.name])
        elif variable is not None:
            self._places[group, option.name] = variable
            self._override(group, option, self._environment[variable])

    def _override(self, group: str, option: Option, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, Path):
            value = str(value)
        if option.kind == "multi-str":
            value = [value] if isinstance(value, str) else list(value)
        try:
            self._conf.set_override(option.name, value, group=_oslo_group(group))
        except ValueError as error:
            self._note_wrong(group, option, error)

    def _read(self, group: str, option: Option, name: str | None = None) -> Any:
        holder = self._conf if group == "DEFAULT" else self._conf[group]
        try:
            value = _plain(getattr(holder, name or option.name))
        except cfg.ConfigSourceValueError as error:
            # oslo.config wraps the reason in a sentence of its own, which repeats what we say ourselves.
            reason = error.__context__ if isinstance(error.__context__, ValueError) else error
            self._note_wrong(group, option, reason)
        except (cfg.NoSuchOptError, cfg.NoSuchGroupError, cfg.TemplateSubstitutionError, RecursionError):
            text = "refers with $ to itself or to an option that there is not. A plain dollar sign is $$."
            self._refuse(group, option, text)
        else:
            if value is not None or option.default is None:
                return value
            self._refuse(group, option, "has no value.")
        return _plain(option.default)

    def _note_wrong(self, group: str, option: Option, reason: Exception) -> None:
        if option.secret:
            text = "its value has the wrong form"
        elif str(reason).startswith(("invalid literal", "could not convert")):
            text = f"needs a {'' if option.kind == 'float' else 'whole '}number"
        else:
            text = str(reason).rstrip(".")
        self._refuse(group, option, text + ".")

    def _refuse(self, group: str, option: Option, text: str) -> None:
        # What has no effect need not be right.
        if option.keep != "no":
            self.wrong(group, option.name, text)


def _oslo_group(group: str) -> str | None:
    return None if group == "DEFAULT" else group


def _place_of(key: str) -> Place:
    group, dot, name = key.rpartition(".")
    return (group, name) if dot else ("DEFAULT", name)


def _plain(value: Any) -> Any:
    """The value as something that nobody can change by accident."""
    if isinstance(value, list):
        return tuple(value)
    return dict(value) if isinstance(value, Mapping) else value
