"""Limits as Keystone would tell them, without one: for tests of what is done about them."""

from collections.abc import Collection, Mapping

from blick.model.errors import ServiceUnavailable


class FixedLimits:
    """Says what a test set, for every project alike; what was not set is not registered. Remembers who asked."""

    def __init__(self, **most: int) -> None:
        self.most = dict(most)
        self.asked: list[tuple[str | None, frozenset[str]]] = []
        self.down = False

    async def of_project(self, project_id: str | None, names: Collection[str]) -> Mapping[str, int]:
        self.asked.append((project_id, frozenset(names)))
        if self.down:
            raise ServiceUnavailable("The limits of this project cannot be read now. Try again later.")
        return {name: self.most.get(name, 0) for name in names}

    def close(self) -> None:
        """Nothing is held."""
