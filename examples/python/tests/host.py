"""A small double of the host, in memory, for the tests."""

import unittest
from unittest import mock

from componentize_py_types import Err
from wit_world.imports import directories, keyvalue, logging
from wit_world.imports import config


class HostTestCase(unittest.TestCase):
    """A test with a host of its own in place of what the driver imports."""

    def setUp(self) -> None:
        self.state: dict[str, bytes] = {}
        self.directories: set[str] = set()
        self.config: dict[str, str] = {}
        self.replace(keyvalue, "open", lambda identifier: Bucket(self.state))
        self.replace(logging, "log", lambda level, context, message: None)
        self.replace(directories, "create", self._create_directory)
        self.replace(directories, "open", self._open_directory)
        self.replace(directories, "remove", self._remove_directory)
        self.replace(config, "get", self.config.get)

    def replace(self, module: object, name: str, double: object) -> None:
        patch = mock.patch.object(module, name, double)
        patch.start()
        self.addCleanup(patch.stop)

    def assert_fails(self, code: object, function: object, *arguments: object) -> None:
        """The call has to fail with this code and with something to read."""
        with self.assertRaises(Exception) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.value.code, code)
        self.assertTrue(caught.exception.value.message)

    def _create_directory(self, key: str, attributes: directories.Attributes) -> object:
        if key in self.directories:
            raise Err(directories.Error_AlreadyExists())
        self.directories.add(key)
        return Directory(key)

    def _open_directory(self, key: str) -> object:
        if key not in self.directories:
            raise Err(directories.Error_NotFound())
        return Directory(key)

    def _remove_directory(self, key: str) -> None:
        self._open_directory(key)
        self.directories.remove(key)


class Bucket(keyvalue.Bucket):
    """The plugin's state, one key a page, so that what does not turn the page is found out."""

    def __init__(self, state: dict[str, bytes]) -> None:
        self._state = state

    def __exit__(self, *exception: object) -> None:
        pass

    def get(self, key: str) -> bytes | None:
        return self._state.get(key)

    def set(self, key: str, value: bytes) -> None:
        self._state[key] = value

    def delete(self, key: str) -> None:
        self._state.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self._state

    def list_keys(self, cursor: int | None) -> keyvalue.KeyResponse:
        at = cursor or 0
        keys = sorted(self._state, key=str.encode)
        return keyvalue.KeyResponse(keys[at : at + 1], at + 1 if at + 1 < len(keys) else None)


class Directory(directories.Directory):
    def __init__(self, key: str) -> None:
        self._key = key

    def key(self) -> str:
        return self._key
