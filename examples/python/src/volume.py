"""Volumes as directories that the host keeps for the plugin."""

import re
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.volume import VolumeCapabilities, VolumeInfo
from wit_world.imports import directories, logging
from wit_world.imports.directories import Attributes, Directory
from wit_world.imports.types import Scope

from failure import ErrorCode, failure
from table import Table


@dataclass(frozen=True)
class Record:
    """What is remembered of a volume."""

    mode: int

    @classmethod
    def of(cls, options: list[tuple[str, str]]) -> "Record":
        """Reads `docker volume create -o mode=0750`."""
        mode = "0755"
        for name, value in options:
            if name != "mode":
                raise failure(ErrorCode.INVALID_ARGUMENT, f"there is no option {name}: this driver has mode")
            mode = value
        if not re.fullmatch(r"[0-7]{3,4}", mode):
            raise failure(
                ErrorCode.INVALID_ARGUMENT, f"option mode={mode}: say permissions in octal, such as 0750"
            )
        return cls(int(mode, 8))


VOLUMES = Table("volumes/", Record)


def find(name: str) -> Record:
    record = VOLUMES.get(name)
    if record is None:
        raise failure(ErrorCode.NOT_FOUND, f'there is no volume "{name}"')
    return record


def directory_of(name: str) -> Directory | None:
    """The volume's directory; none if somebody removed it from the machine."""
    try:
        return directories.open(name)
    except Err as error:
        if isinstance(error.value, directories.Error_NotFound):
            return None
        raise refused(error) from None


def refused(error: Err[directories.Error]) -> Err:
    """A refusal of the host's, as the user of docker is told it."""
    match error.value:
        case directories.Error_InUse():
            return failure(ErrorCode.IN_USE, "something is mounted in the directory of the volume")
        case directories.Error_QuotaExceeded():
            return failure(
                ErrorCode.EXHAUSTED,
                "no further directory: raise max in [grants.directories], or remove a volume",
            )
        case directories.Error_Other(message):
            return failure(ErrorCode.OTHER, message)
        case other:
            return failure(ErrorCode.OTHER, f"the directory of the volume: {type(other).__name__}")


class Volume(exports.Volume):
    def capabilities(self) -> VolumeCapabilities:
        return VolumeCapabilities(Scope.LOCAL)

    def create(self, name: str, options: list[tuple[str, str]]) -> None:
        record = Record.of(options)
        known = VOLUMES.get(name)
        if known == record:
            return
        if known is not None:
            raise failure(ErrorCode.ALREADY_EXISTS, f'volume "{name}" exists already, with other options')
        try:
            directories.create(name, Attributes(uid=None, gid=None, mode=record.mode))
        except Err as error:
            raise refused(error) from None
        VOLUMES.put(name, record)
        logging.log(logging.Level.INFO, "volume", f"created {name}")

    def remove(self, name: str) -> None:
        if VOLUMES.get(name) is None:
            return
        if directory_of(name):
            try:
                directories.remove(name)
            except Err as error:
                raise refused(error) from None
        VOLUMES.delete(name)

    def mount(self, name: str, id: str) -> Directory:
        find(name)
        directory = directory_of(name)
        if directory is None:
            raise failure(
                ErrorCode.UNAVAILABLE, f'the directory of volume "{name}" is gone from this machine'
            )
        return directory

    def unmount(self, name: str, id: str) -> None:
        pass

    def get(self, name: str) -> VolumeInfo:
        record = find(name)
        return VolumeInfo(name, directory_of(name), created_at=None, status=[("mode", f"{record.mode:04o}")])

    def list(self) -> list[VolumeInfo]:
        return [VolumeInfo(name, None, created_at=None, status=[]) for name in VOLUMES.keys()]

    def path(self, name: str) -> Directory | None:
        find(name)
        return directory_of(name)
