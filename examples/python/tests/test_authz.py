import json

from wit_world.exports.authz import Decision_Allow, Request, RequestBody_Json, RequestBody_None_

from authz import Authz

from .host import HostTestCase

HARMFUL = [
    ("containers/create", {"HostConfig": {"Privileged": True}}),
    ("containers/create", {"HostConfig": {"Privileged": "true"}}),
    ("containers/create", {"HostConfig": {"Binds": ["data:/data", "/:/host"]}}),
    ("containers/create", {"HostConfig": {"Mounts": [{"Type": "volume"}, {"Type": "bind", "Source": "/"}]}}),
    (
        "containers/create",
        {"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"DriverConfig": {"Options": {"o": "bind"}}}}]}},
    ),
    ("containers/create", {"HostConfig": {"PidMode": "host"}}),
    ("containers/x/exec", {"Privileged": True}),
    ("containers/x/start", {"Privileged": True}),
    ("volumes/create", {"DriverOpts": {"type": "none", "o": "bind", "device": "/"}}),
    ("session", None),
    ("grpc", None),
]


class AuthzTest(HostTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.config["administrators"] = "root, alice"

    def allowed(self, path: str, body: object = None, user: str | None = None, method: str = "POST") -> bool:
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
        for line in ["GET info", "GET images/json", "DELETE containers/x", "PUT containers/x/archive", "POST images/shop/web/push"]:
            with self.subTest(line):
                method, path = line.split()
                self.assertTrue(self.allowed(path, method=method))
        host_config = {"Binds": ["data:/data"], "Mounts": [{"Type": "volume"}], "NetworkMode": "default"}
        for path, body in [
            ("containers/create", {"Image": "busybox"}),
            ("containers/create", {"HostConfig": host_config}),
            ("containers/x/exec", {"Cmd": ["true"]}),
            ("volumes/create", {"Name": "data", "DriverOpts": {"mode": "0750"}}),
            ("containers/x/start", None),
        ]:
            with self.subTest(path=path, body=body):
                self.assertTrue(self.allowed(path, body))

    def test_what_leads_to_the_machine_is_denied_but_not_to_administrators(self) -> None:
        for path, body in HARMFUL:
            with self.subTest(path=path, body=body):
                for user in (None, "", "bob", "Alice", "alice, root"):
                    self.assertFalse(self.allowed(path, body, user))
                self.assertTrue(self.allowed(path, body, "alice"))

    def test_without_a_list_there_is_no_administrator(self) -> None:
        self.config.clear()
        self.assertFalse(self.allowed(*HARMFUL[0], user=""))

    def test_what_the_policy_does_not_know_is_denied(self) -> None:
        for line in [
            "POST plugins/pull",
            "POST containers/create/auth",
            "POST version1.41/containers/create",
            "POST auth/x",
            "OPTIONS containers/create",
            "DELETE containers/x/y",
        ]:
            with self.subTest(line):
                method, path = line.split()
                self.assertFalse(self.allowed(path, {"Image": "busybox"}, method=method))

    def test_a_body_that_is_not_there_is_no_harmless_one(self) -> None:
        self.assertFalse(self.allowed("containers/create"))
        self.assertFalse(self.allowed("containers/create", []))
        self.assertFalse(self.allowed("containers/x/exec"))
