"""What an import method has to offer: the bytes, and what is known of them beforehand."""

from dataclasses import dataclass, field

from blick.model.import_job import Expected
from blick.stream.body import BodySource


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that come in from elsewhere, read once. `expected` is what they have to be in the end.

    The body's errors are SourceError and its children. Where the source announced a size, it is in `expected`.
    """

    body: BodySource
    expected: Expected = field(default_factory=Expected)
