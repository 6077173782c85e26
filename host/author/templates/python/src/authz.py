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
    RequestBody_None_,
    Response,
)
from wit_world.imports import config

Content = dict[str, Any]


def is_administrator(user: str | None) -> bool:
    """Whether the common name is one of those that the operator wrote under [config], with commas between."""
    names = (config.get("administrators") or "").split(",")
    return bool(user) and user in (name.strip() for name in names)


def is_set(value: object) -> bool:
    """What is neither true nor false is not left to the engine."""
    return value is not None and value is not False


def container_objection(content: Content) -> str | None:
    """Why a container must not be made. Docker's field names come in Docker's spelling, each once."""
    host = content.get("HostConfig") or {}
    if is_set(host.get("Privileged")):
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
    return "privileged commands are not allowed" if is_set(content.get("Privileged")) else None


def volume_objection(content: Content) -> str | None:
    has_device = (content.get("DriverOpts") or {}).get("device")
    return "volumes of devices and directories are not allowed" if has_device else None


def is_daily(method: str, path: list[str]) -> bool:
    """Whether it says nothing of the machine. All else is denied, so a new endpoint of Docker's is no way around the policy."""
    match method, path:
        case "GET" | "HEAD", _:
            return True
        case "POST", ["auth"] | ["containers" | "networks" | "volumes", "prune"] | ["networks", "create"]:
            return True
        case "POST", ["containers", _, action]:
            actions = "stop restart kill pause unpause wait resize attach rename"
            return action in actions.split()
        case "POST", ["exec", _, "start" | "resize"] | ["networks", _, "connect" | "disconnect"]:
            return True
        case "PUT", ["containers", _, "archive"]:
            return True
        case "DELETE", ["containers" | "networks" | "volumes", _]:
            return True
        # The names of images have slashes in them.
        case "POST" | "DELETE", ["images", _, *_]:
            return True
    return False


def denial(request: Request) -> str | None:
    """Why the request is denied; none if it is not."""
    judge: Callable[[Content], str | None]
    match request.method, request.path:
        # Connections that Docker hands over: nobody sees what is said there.
        case _, ["session" | "grpc" as route]:
            return f"/{route} is not allowed, because what is said there cannot be judged"
        # Older engines take a container's configuration here once more.
        case "POST", ["containers", _, "start"]:
            has_body = not isinstance(request.body, RequestBody_None_)
            return "a configuration at the start of a container is not allowed" if has_body else None
        case "POST", ["containers", "create"]:
            judge = container_objection
        case "POST", ["containers", _, "exec"]:
            judge = exec_objection
        case "POST", ["volumes", "create"]:
            judge = volume_objection
        case method, path:
            if is_daily(method, path):
                return None
            return f"{method} /{'/'.join(path)} is not among the requests that this policy knows"
    content = json.loads(request.body.value) if isinstance(request.body, RequestBody_Json) else None
    if not isinstance(content, dict):
        return f"the body of POST /{'/'.join(request.path)} is not there to be judged"
    return judge(content)


class Authz(exports.Authz):
    def authz_req(self, request: Request) -> Decision:
        reason = None if is_administrator(request.user) else denial(request)
        return Decision_Allow() if reason is None else Decision_Deny(reason)

    def authz_res(self, request: Request, response: Response) -> Decision:
        """Docker has done it by now: a denial would only hide the answer."""
        return Decision_Allow()
