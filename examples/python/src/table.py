"""Records in the plugin's durable state. What a call writes becomes final when it succeeds."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Generic, TypeVar

from wit_world.imports import keyvalue

Record = TypeVar("Record")


class Table(Generic[Record]):
    """Data classes of one type as JSON, under keys with one prefix."""

    def __init__(self, prefix: str, record: type[Record]) -> None:
        self._prefix = prefix
        self._record = record

    def get(self, key: str) -> Record | None:
        with keyvalue.open("") as bucket:
            value = bucket.get(self._prefix + key)
        return None if value is None else self._record(**json.loads(value))

    def put(self, key: str, record: Record) -> None:
        with keyvalue.open("") as bucket:
            bucket.set(self._prefix + key, json.dumps(asdict(record)).encode())

    def delete(self, key: str) -> None:
        with keyvalue.open("") as bucket:
            bucket.delete(self._prefix + key)

    def keys(self) -> Iterator[str]:
        """All keys, in order of their bytes. The host is asked for all keys of the plugin."""
        with keyvalue.open("") as bucket:
            cursor = None
            while True:
                page = bucket.list_keys(cursor)
                for key in page.keys:
                    if key.startswith(self._prefix):
                        yield key.removeprefix(self._prefix)
                cursor = page.cursor
                if cursor is None:
                    return

    def items(self) -> Iterator[tuple[str, Record]]:
        """All keys with their records."""
        for key in self.keys():
            record = self.get(key)
            if record is not None:
                yield key, record
