import json

from wit_world.exports.authz import Decision_Allow, Request, RequestBody_Json, RequestBody_None_

from authz import Authz

from .host import HostTestCase


class AuthzTest(HostTestCase):
    def allowed(self, method: str, path: str, body: object = None, user: str | None = None) -> bool:
        request = Request(
            user=user,
            user_authn_method=None,
            method=method,
            uri=f"/v1.41/{path}",
            api_version=None,
            path=path.split("/"),
            query=[],
            headers=[],
            body=RequestBody_None_() if body is None else RequestBody_Json(json.dumps(body)),
            peer_certificates=[],
        )
        decision = Authz().authz_req(request)
        if isinstance(decision, Decision_Allow):
            return True
        self.assertTrue(decision.value)
        return False

    def test_ordinary_requests_are_allowed(self) -> None:
        self.assertTrue(self.allowed("GET", "containers/json"))
        self.assertTrue(self.allowed("POST", "containers/c1/start"))
        self.assertTrue(self.allowed("POST", "containers/create", {"Image": "busybox"}))
        host_config = {"Privileged": False, "Binds": ["data:/data"], "Mounts": [{"Type": "volume"}]}
        self.assertTrue(self.allowed("POST", "containers/create", {"HostConfig": host_config}))
        self.assertTrue(self.allowed("POST", "containers/c1/exec", {"Cmd": ["true"]}))

    def test_what_reaches_the_machine_is_for_administrators(self) -> None:
        self.config["administrators"] = "root, admin"
        for path, body in [
            ("containers/create", {"HostConfig": {"Privileged": True}}),
            ("containers/create", {"HostConfig": {"Binds": ["data:/data", "/etc:/host"]}}),
            ("containers/create", {"HostConfig": {"Mounts": [{}, {"Type": "bind", "Source": "/"}]}}),
            ("containers/c1/exec", {"Cmd": ["sh"], "Privileged": True}),
        ]:
            with self.subTest(path=path, body=body):
                for user in (None, "", "ADMIN"):
                    self.assertFalse(self.allowed("POST", path, body, user))
                self.assertTrue(self.allowed("POST", path, body, "admin"))

    def test_a_container_that_cannot_be_judged_is_denied(self) -> None:
        self.assertFalse(self.allowed("POST", "containers/create"))
        self.assertFalse(self.allowed("POST", "containers/c1/exec"))
