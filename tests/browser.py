"""Two clients of `sai3tui serve`: the websocket alone, and a real Chromium driven over its debugging port.

`python -m tests.browser URL` prints what was looked for once it was drawn; with a path of Chromium and a directory
for its profile it says `drawn` once the page has shown the first bytes of the control room.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.waiting import POLL_S, wait_until_async

WANTED = "No runs here yet."
LIMIT_S = 90


async def over_websocket(url: str) -> str:
    drawn = ""
    async with ClientSession() as session, session.ws_connect(f"{url}ws?width=120&height=36") as page:
        async for message in page:
            if message.type is WSMsgType.BINARY:
                drawn += message.data.decode(errors="replace")
            if WANTED in drawn:
                return WANTED
    return ""


async def in_chromium(url: str, chromium: str, profile: Path) -> str:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    browser = await asyncio.create_subprocess_exec(
        chromium,
        *options,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        debugging = await _port(profile / "DevToolsActivePort")
        base = f"http://127.0.0.1:{debugging}"
        async with ClientSession() as session:
            async with session.put(f"{base}/json/new?{url}") as answer:
                target = await answer.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"]) as devtools:
                number = 0
                while "first-byte" not in await _classes(devtools, number):
                    number += 1
                    await asyncio.sleep(POLL_S)
        return "drawn"
    finally:
        browser.terminate()
        await browser.wait()


async def _port(file: Path) -> int:
    """The debugging port, once the browser has written it."""
    assert await wait_until_async(lambda: file.exists() and bool(file.read_text().strip()), 60)
    return int(file.read_text().split()[0])


async def _classes(devtools: ClientWebSocketResponse, number: int) -> str:
    """The classes of the page's body."""
    parameters = {"expression": "document.body.className"}
    await devtools.send_json({"id": number, "method": "Runtime.evaluate", "params": parameters})
    while (answer := await devtools.receive_json()).get("id") != number:
        pass
    return str(answer["result"]["result"].get("value", ""))


async def main(url: str, chromium: str = "", profile: str = "") -> None:
    async with asyncio.timeout(LIMIT_S):
        sys.stdout.write(await (in_chromium(url, chromium, Path(profile)) if chromium else over_websocket(url)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
