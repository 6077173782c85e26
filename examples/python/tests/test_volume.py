from failure import ErrorCode
from volume import Volume

from .host import HostTestCase


class VolumeTest(HostTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.driver = Volume()

    def test_a_volume_lives_from_create_to_remove(self) -> None:
        for mode in ("0750", "750"):
            self.driver.create("data", [("mode", mode)])
        self.driver.create("other", [])
        self.assertEqual(self.driver.mount("data", "container").key(), "data")
        self.driver.unmount("data", "container")
        info = self.driver.get("data")
        self.assertEqual((info.name, info.status), ("data", [("mode", "0750")]))
        self.assertEqual(self.driver.path("data").key(), "data")
        self.assertEqual([info.name for info in self.driver.list()], ["data", "other"])
        for name in ("data", "data", "other"):
            self.driver.remove(name)
        self.assert_fails(ErrorCode.NOT_FOUND, self.driver.get, "data")
        self.assertEqual((self.state, self.directories), ({}, set()))

    def test_the_same_name_with_other_options_is_an_error(self) -> None:
        self.driver.create("data", [("mode", "0750")])
        self.assert_fails(ErrorCode.ALREADY_EXISTS, self.driver.create, "data", [("mode", "0700")])

    def test_an_option_that_makes_no_sense_is_refused(self) -> None:
        for name, value in [("size", "1g"), *(("mode", mode) for mode in ("", "rwx", "0o755", "77777", "-1", "758"))]:
            with self.subTest(name=name, value=value):
                self.assert_fails(ErrorCode.INVALID_ARGUMENT, self.driver.create, "data", [(name, value)])
        self.assertEqual(self.state, {})

    def test_a_directory_that_is_gone_does_not_make_docker_forget_the_volume(self) -> None:
        self.driver.create("data", [])
        self.directories.clear()
        self.assertIsNone(self.driver.get("data").mountpoint)
        self.assert_fails(ErrorCode.UNAVAILABLE, self.driver.mount, "data", "container")
        self.driver.remove("data")
