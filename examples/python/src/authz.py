"""A sample policy: privileged containers and directories of this machine in containers are for administrators."""

import json
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
from wit_world.imports import config, logging


def is_administrator(user: str | None) -> bool:
    """Whether the common name is one of those that the operator wrote under [config]."""
    names = (config.get("administrators") or "").split(",")
    return bool(user) and user in (name.strip() for name in names)


def has_bind_mount(host_config: dict[str, Any]) -> bool:
    """Whether a container gets a directory of this machine: `-v /path:...` or `--mount type=bind`."""
    binds = host_config.get("Binds") or []
    mounts = host_config.get("Mounts") or []
    return any(bind.startswith("/") for bind in binds) or any(mount.get("Type") == "bind" for mount in mounts)


def denial(request: Request) -> str | None:
    """Why the request is denied; none if it is not."""
    match request.method, request.path:
        case "POST", ["containers", "create"]:
            creates = True
        case "POST", ["containers", _, "exec"]:
            creates = False
        case _:
            return None
    if not isinstance(request.body, RequestBody_Json):
        return "the request has no body that could be judged"
    # The host has read it as the engine does: each key once, in Docker's spelling.
    body = json.loads(request.body.value)
    host_config = body.get("HostConfig") or {}
    if (host_config if creates else body).get("Privileged"):
        return "privileged containers are for administrators"
    if creates and has_bind_mount(host_config):
        return "directories of this machine are for administrators: use a volume"
    return None


class Authz(exports.Authz):
    def authz_req(self, request: Request) -> Decision:
        reason = None if is_administrator(request.user) else denial(request)
        if reason is None:
            return Decision_Allow()
        logging.log(logging.Level.INFO, "authz", f"denied {request.uri}: {reason}")
        return Decision_Deny(reason)

    def authz_res(self, request: Request, response: Response) -> Decision:
        return Decision_Allow()
