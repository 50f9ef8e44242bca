#!/usr/bin/env python3
"""Subscribes to every event of synscope and validates what comes against docs/asyncapi.json.

Needs `pip install nats-py msgpack jsonschema`. Runs until it is interrupted or the time is over, then prints one JSON
object per kind of event: messages received, how many of them were not as described, and how many numbers were missing.
Exits with 1 when a message was not as described, or one that was required did not come.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import re
import signal
import ssl
import sys

import jsonschema
import msgpack
import nats

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "asyncapi.json"
COMPLAINTS_MAX = 20


class Numbers:
    """The numbers that one publisher gave its messages on one subject: they may come twice, and a little late."""

    def __init__(self, first):
        self.first = self.latest = first
        self.received = 0
        self.recent = collections.deque(maxlen=128)

    def note(self, number):
        if number not in self.recent:
            self.recent.append(number)
            self.received += 1
            self.first, self.latest = min(self.first, number), max(self.latest, number)

    def missing(self):
        return self.latest - self.first + 1 - self.received


class Kind:
    """One kind of event: where it comes, what it looks like, and what came so far."""

    def __init__(self, document, name):
        def resolve(pointer):
            found = document
            for token in pointer.removeprefix("#/").split("/"):
                found = found[token]
            return found

        channel = document["channels"][name]
        message = resolve(channel["messages"][name]["$ref"])
        schemas = {"components": document["components"]}
        self.subject = re.sub(r"\{[^}]*\}", "*", channel["address"])
        self.headers = jsonschema.Draft7Validator({**schemas, **message["headers"]})
        self.payload = jsonschema.Draft7Validator({**schemas, "allOf": [message["payload"]]})
        self.received = self.invalid = 0
        self.numbers = {}
        for example in message["examples"]:
            self.payload.validate(example["payload"])

    def check(self, subject, headers, payload):
        """Why a message is not as described; nothing if it is."""
        self.received += 1
        try:
            decoded = msgpack.unpackb(payload)
        except ValueError as error:
            self.invalid += 1
            return f"{subject}: no MessagePack: {error}"
        complaints = [*self.headers.iter_errors(headers), *self.payload.iter_errors(decoded)]
        if complaints:
            self.invalid += 1
            return f"{subject}: {complaints[0].json_path}: {complaints[0].message[:200]}"
        number = int(headers["Synscope-Seq"])
        self.numbers.setdefault((subject, headers["Synscope-Publisher"]), Numbers(number)).note(number)
        return None

    def summary(self):
        missing = sum(numbers.missing() for numbers in self.numbers.values())
        return {"received": self.received, "invalid": self.invalid, "missing": missing}


async def listen(arguments):
    document = json.loads(DOCUMENT.read_text())
    # Who asked for changes is not for everyone: a key for subscribers only does not open that subject.
    names = [name for name in document["channels"] if name != "audit" or "audit" in arguments.require]
    kinds = {name: Kind(document, name) for name in names}
    complaints = 0

    def on_message(kind):
        async def take(message):
            nonlocal complaints
            complaint = kind.check(message.subject, dict(message.headers or {}), message.data)
            if complaint and complaints < COMPLAINTS_MAX:
                complaints += 1
                print(complaint, file=sys.stderr)

        return take

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    # It waits for a server as long as it takes, also when one goes and another comes.
    client = await nats.connect(
        arguments.server,
        max_reconnect_attempts=-1,
        allow_reconnect=True,
        nkeys_seed=arguments.nkey,
        tls=ssl.create_default_context(cafile=arguments.ca) if arguments.ca else None,
    )
    for kind in kinds.values():
        await client.subscribe(kind.subject, cb=on_message(kind))
    # Twice: the first one's question overtakes the subscriptions, which wait to be sent (nats-py 2.16), and is answered
    # before the server has them.
    await client.flush()
    await client.flush()
    print("subscribed", file=sys.stderr, flush=True)
    try:
        await asyncio.wait_for(ended.wait(), arguments.seconds)
    except asyncio.TimeoutError:
        pass
    try:
        # What the server has sent already still counts. Draining alone may end without a round trip (nats-py 2.16: the task
        # that sends ends as soon as the state is no longer "connected").
        await client.flush()
        await client.drain()
    except nats.errors.Error:
        await client.close()
    summaries = {name: kind.summary() for name, kind in kinds.items()}
    print(json.dumps(summaries))
    absent = [name for name in arguments.require if not summaries[name]["received"]]
    if absent:
        print(f"nothing came of: {', '.join(absent)}", file=sys.stderr)
    return 1 if absent or any(summary["invalid"] for summary in summaries.values()) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="nats://127.0.0.1:4222", help="URL of a NATS server")
    parser.add_argument("--nkey", metavar="FILE", help="file of the secret key, such as synscope-subscriber.nk")
    parser.add_argument("--ca", metavar="FILE", help="file of the authority's certificate that the server's is of")
    parser.add_argument("--seconds", type=float, help="end after so long; without it, on SIGINT or SIGTERM")
    parser.add_argument("--require", nargs="*", default=[], metavar="KIND", help="kinds of events that must come")
    sys.exit(asyncio.run(listen(parser.parse_args())))


if __name__ == "__main__":
    main()
