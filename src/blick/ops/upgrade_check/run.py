"""All checks, in the order in which they are shown."""

from blick.conf.load import Examined
from blick.ops.upgrade_check import configuration, surroundings
from blick.ops.upgrade_check.outcome import Outcome, Result
from blick.stream.hop import hop

_UNCHECKED = "Not looked at, because values of options are wrong."


async def run(examined: Examined) -> list[Outcome]:
    """Every check's outcome. What depends on options is not looked at where these are wrong."""
    settings = examined.settings
    values = configuration.wrong_options(examined)
    outcomes = [
        configuration.sheepdog(settings),
        configuration.policy_file(settings),
        configuration.owners(examined),
        values,
        configuration.unknown_options(examined),
        configuration.old_options(examined),
    ]
    if values.result is not Result.SUCCESS:
        unchecked = ("Policies", "Database", "Stores", "Mount Guard", "Staging")
        return outcomes + [Outcome(name, Result.WARNING, _UNCHECKED) for name in unchecked]
    return [
        *outcomes,
        configuration.policies(settings),
        await hop(None, surroundings.database, settings.database),
        await surroundings.stores(settings),
        await hop(None, surroundings.mounts, settings),
        await hop(None, surroundings.staging, settings),
    ]
