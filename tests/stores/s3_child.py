"""A process that writes without end, to be killed: `python -m tests.stores.s3_child KEY`, options on its input."""

import ast
import asyncio
import sys

from blick.stores.conformance import MIB
from blick.stores.s3.store import S3Store


async def write_without_end(key: str, store: S3Store) -> None:
    """Say so once the first parts must be on the server, and go on until killed."""
    async with store.writer(key, None) as writer:
        for number in range(1000):
            await writer.write(memoryview(b"x" * MIB))
            if number == 60:
                print("written", flush=True)
    raise AssertionError("was not killed")


if __name__ == "__main__":
    asyncio.run(write_without_end(sys.argv[1], S3Store("s3", ast.literal_eval(sys.stdin.readline()))))
