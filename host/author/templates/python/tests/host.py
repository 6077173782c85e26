"""A small double of the host, in memory, for the tests."""

import unittest
from unittest import mock

{% if volume or network %}
from componentize_py_types import Err
{% endif %}
{% if volume and network %}
from wit_world.imports import directories, keyvalue, links, logging, machine, random
{% elif volume %}
from wit_world.imports import directories, keyvalue, logging
{% elif network %}
from wit_world.imports import keyvalue, links, machine, random
{% elif ipam %}
from wit_world.imports import keyvalue
{% endif %}
{% if authz %}
from wit_world.imports import config
{% endif %}


class HostTestCase(unittest.TestCase):
    """A test with a host of its own in place of what the driver imports."""

    def setUp(self) -> None:
{% if volume or network or ipam %}
        self.state: dict[str, bytes] = {}
{% endif %}
{% if volume %}
        self.directories: set[str] = set()
{% endif %}
{% if network %}
        self.links: dict[str, Link] = {}
{% endif %}
{% if authz %}
        self.config: dict[str, str] = {}
{% endif %}
{% if volume or network or ipam %}
        self.replace(keyvalue, "open", lambda identifier: Bucket(self.state))
{% endif %}
{% if volume %}
        self.replace(logging, "log", lambda level, context, message: None)
        self.replace(directories, "create", self._create_directory)
        self.replace(directories, "open", self._open_directory)
        self.replace(directories, "remove", self._remove_directory)
{% endif %}
{% if network %}
        self.replace(random, "get_random_bytes", lambda count: bytes(range(0xF1, 0xF1 + count)))
        self.replace(links, "create", self._create_link)
        self.replace(links, "create_pair", self._create_pair)
        self.replace(links, "open", self._open_link)
        self.replace(links, "delete", self._delete_link)
{% endif %}
{% if authz %}
        self.replace(config, "get", self.config.get)
{% endif %}

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
{% if volume %}

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
{% endif %}
{% if network %}

    def _create_link(self, key: str, kind: links.Kind, settings: links.Settings) -> object:
        if key in self.links:
            raise Err(machine.Error(machine.ErrorCode.ALREADY_EXISTS, f"there is a link {key}"))
        self.links[key] = Link(key, settings)
        return self.links[key]

    def _create_pair(self, key: str, peer: str, settings: links.Settings) -> tuple[object, object]:
        pair = (self._create_link(key, None, settings), self._create_link(peer, None, settings))
        for link in pair:
            link.ends = (key, peer)
        return pair

    def _open_link(self, key: str) -> object:
        if key not in self.links:
            raise Err(machine.Error(machine.ErrorCode.NOT_FOUND, f"there is no link {key}"))
        return self.links[key]

    def _delete_link(self, key: str) -> None:
        for end in self._open_link(key).ends:
            del self.links[end]
{% endif %}
{% if volume or network or ipam %}


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
{% endif %}
{% if volume %}


class Directory(directories.Directory):
    def __init__(self, key: str) -> None:
        self._key = key

    def key(self) -> str:
        return self._key
{% endif %}
{% if network %}


class Link(links.Link):
    """A link, with what was done to it."""

    def __init__(self, key: str, settings: links.Settings) -> None:
        self._key = key
        self.settings = settings
        self.ends: tuple[str, ...] = (key,)
        self.addresses: list[object] = []
        self.master: str | None = None

    def key(self) -> str:
        return self._key

    def set_master(self, bridge: links.Link | None) -> None:
        self.master = bridge.key() if bridge else None

    def add_address(self, address: object) -> None:
        self.addresses.append(address)
{% endif %}
