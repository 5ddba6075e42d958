"""A process that writes to a swift store and waits to be killed: `python -m tests.stores.swift_child OPTIONS KEY SIZE`.

OPTIONS is a dict as Python prints it, SIZE 0 an unknown size.
"""

import ast
import asyncio
import sys

from blick.stores.conformance import MIB
from blick.stores.swift.store import SwiftStore


async def main(options: str, key: str, size: str) -> None:
    """Write two pieces of 1 MiB and a half, say so, and wait."""
    async with SwiftStore("swift", ast.literal_eval(options)).writer(key, int(size) or None) as writer:
        for _ in range(2):
            await writer.write(memoryview(bytes(MIB)))
        await writer.write(memoryview(bytes(MIB // 2)))
        print("written", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
