"""Many pictures at once from asyncio, with the submitter package: no polling, one stream of events for all of them.

    RECEIVER=http://127.0.0.1:8080 BASE_URL=https://api-singapore.klingai.com API_KEY=… \
        python examples/async_client.py "a lighthouse" "a harbour" "a ferry"

This process sends to the provider itself, so it holds the provider's key; the receiver holds the ledger and hears the
callbacks. KEY is the receiver's own key, where it asks for one.
"""

import asyncio
import os
import sys

from submitter import HttpJournal, HttpWatch, OmniImageRequest, ProviderSettings, Refused, Submitted, Submitter


async def main(prompts: list[str]) -> int:
    """Submit each, wait for all, print what became of each."""
    receiver, key = os.environ.get("RECEIVER", "http://127.0.0.1:8080"), os.environ.get("KEY")
    account = ProviderSettings(kind="kling", base_url=os.environ.get("BASE_URL", ""), api_key=os.environ["API_KEY"])
    async with (
        HttpJournal(receiver, api_key=key) as journal,
        HttpWatch(receiver, api_key=key) as watch,
        Submitter({"kling": account}, journal=journal, watch=watch) as submitter,
    ):
        tasks = [task for task in await asyncio.gather(*(submit(submitter, each) for each in prompts)) if task]
        done = await submitter.wait_all(tasks)
    for task in done:
        print(task.external_task_id, task.state, *(image.url for image in task.images))
    return 0 if len(done) == len(prompts) and all(task.state == "succeeded" for task in done) else 1


async def submit(submitter: Submitter, prompt: str) -> Submitted | None:
    """The task, or None where the provider refused it: its words are on standard error."""
    try:
        return await submitter.submit("kling", OmniImageRequest(prompt=prompt))
    except Refused as refused:
        print(f"{prompt!r}: {refused}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
