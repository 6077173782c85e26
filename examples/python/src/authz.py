"""A sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be judged."""

import json
from collections.abc import Callable
from typing import Any

from wit_world import exports
from wit_world.exports.authz import (
    Decision,
    Decision_Allow,
    Decision_Deny,
    Request,
    RequestBody_Json,
    Response,
)
from wit_world.imports import config

Content = dict[str, Any]


def is_administrator(user: str | None) -> bool:
    """Whether the common name is one of those that the operator wrote under [config], with commas between."""
    names = (config.get("administrators") or "").split(",")
    return bool(user) and user in (name.strip() for name in names)


def container_objection(content: Content) -> str | None:
    """Why a container must not be made. Docker's field names come in Docker's spelling, each once."""
    host = content.get("HostConfig") or {}
    if host.get("Privileged"):
        return "privileged containers are not allowed"
    if any(bind.startswith(("/", "~", ".")) for bind in host.get("Binds") or []):
        return "directories of the machine are not allowed in containers"
    for mount in host.get("Mounts") or []:
        if mount.get("Type") not in ("volume", "tmpfs"):
            return f"mounts of type {mount.get('Type')} are not allowed"
        if ((mount.get("VolumeOptions") or {}).get("DriverConfig") or {}).get("Options"):
            return "options for new volumes are not allowed in mounts"
    for space in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "NetworkMode", "CgroupnsMode"):
        if host.get(space) == "host":
            return f"{space} host is not allowed"
    return None


def exec_objection(content: Content) -> str | None:
    return "privileged commands are not allowed" if content.get("Privileged") else None


def volume_objection(content: Content) -> str | None:
    has_device = (content.get("DriverOpts") or {}).get("device")
    return "volumes of devices and directories are not allowed" if has_device else None


def denial(request: Request) -> str | None:
    """Why the request is denied; none if it is not."""
    judge: Callable[[Content], str | None]
    match request.method, request.path:
        # Connections that Docker hands over: nobody sees what is said there.
        case _, ["session" | "grpc" as route]:
            return f"/{route} is not allowed, because what is said there cannot be judged"
        case "POST", ["containers", "create"]:
            judge = container_objection
        case "POST", ["containers", _, "exec"]:
            judge = exec_objection
        case "POST", ["volumes", "create"]:
            judge = volume_objection
        case _:
            return None
    if not isinstance(request.body, RequestBody_Json):
        return f"the body of POST /{'/'.join(request.path)} is not there to be judged"
    content = json.loads(request.body.value)
    return judge(content if isinstance(content, dict) else {})


class Authz(exports.Authz):
    def authz_req(self, request: Request) -> Decision:
        reason = None if is_administrator(request.user) else denial(request)
        return Decision_Allow() if reason is None else Decision_Deny(reason)

    def authz_res(self, request: Request, response: Response) -> Decision:
        """Docker has done it by now: a denial would only hide the answer."""
        return Decision_Allow()
