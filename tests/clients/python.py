"""Package aetcd against the server at the port given: every call that it has for what is served."""

import asyncio
import sys

import aetcd


async def main(port):
    async with aetcd.Client(host="127.0.0.1", port=port) as client:
        await client.put(b"a", b"1")
        before = await client.put(b"a", b"2", prev_kv=True)
        assert before.prev_kv.value == b"1", before
        got = await client.get(b"a")
        assert (got.value, got.create_revision, got.version) == (b"2", 2, 2), got
        assert await client.get(b"none") is None

        watch = await client.watch_prefix(b"app/")
        lease = await client.lease(60)
        await client.put(b"app/x", b"1", lease=lease)
        await client.put(b"app/y", b"2")
        keys = [kv.key for kv in await client.get_prefix(b"app/", sort_order="descend")]
        assert keys == [b"app/y", b"app/x"], keys

        is_two = client.transactions.value(b"a") == b"2"
        succeeded, _ = await client.transaction(
            compare=[is_two],
            success=[client.transactions.put(b"a", b"3")],
            failure=[],
        )
        assert succeeded
        succeeded, _ = await client.transaction(compare=[is_two], success=[], failure=[])
        assert not succeeded

        await lease.refresh()
        assert (await lease.remaining_ttl()) > 0
        await lease.revoke()
        assert await client.delete(b"app/y")
        seen = []
        async for event in watch:
            seen.append((event.kind, event.kv.key))
            if len(seen) == 4:
                break
        assert seen == [
            ("PUT", b"app/x"),
            ("PUT", b"app/y"),
            ("DELETE", b"app/x"),
            ("DELETE", b"app/y"),
        ], seen

        status = await client.status()
        assert status.version == "3.5.13", status.version
    print("all as it should be")


asyncio.run(main(int(sys.argv[1])))
