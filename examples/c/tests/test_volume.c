#include "host.h"

static text_t name, id;
static dockside_driver_types_error_t error;

static bool create(const char *option, const char *value) {
    exports_dockside_driver_volume_key_value_t given = {text(option), text(value)};
    exports_dockside_driver_volume_list_key_value_t options = {&given, 1};
    return exports_dockside_driver_volume_create(&name, &options, &error);
}

static void a_volume_lives_from_create_to_remove(void) {
    exports_dockside_driver_volume_own_directory_t directory;
    exports_dockside_driver_volume_volume_info_t info;
    exports_dockside_driver_volume_list_volume_info_t list;
    CHECK(create("mode", "0750"));
    CHECK(create("mode", "750"));
    CHECK(exports_dockside_driver_volume_mount(&name, &id, &directory, &error));
    CHECK(exports_dockside_driver_volume_unmount(&name, &id, &error));
    CHECK(exports_dockside_driver_volume_get(&name, &info, &error));
    CHECK(text_equals(info.name, name) && info.mountpoint.is_some);
    CHECK(text_equals(info.status.ptr[0].f1, text("0750")));
    name = text("other");
    CHECK(create("mode", "0755"));
    CHECK(exports_dockside_driver_volume_list(&list, &error) && list.len == 2);
    CHECK(exports_dockside_driver_volume_remove(&name, &error));
    name = text("data");
    CHECK(exports_dockside_driver_volume_remove(&name, &error));
    CHECK(exports_dockside_driver_volume_remove(&name, &error));
    CHECK(!exports_dockside_driver_volume_get(&name, &info, &error));
    CHECK(error.code == DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND);
    CHECK(host_state_count() == 0);
}

static void the_same_name_with_other_options_is_an_error(void) {
    CHECK(create("mode", "0750"));
    CHECK(!create("mode", "0700"));
    CHECK(error.code == DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS);
}

static void an_option_that_makes_no_sense_is_refused(void) {
    const char *const modes[] = {"", "rwx", "0o755", "77777", "-1", "758"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        CHECK(!create("mode", modes[i]));
        CHECK(error.code == DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT);
    }
    CHECK(!create("size", "1g"));
    CHECK(error.code == DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT);
    CHECK(host_state_count() == 0);
}

static void a_directory_that_is_gone_does_not_make_docker_forget_the_volume(void) {
    exports_dockside_driver_volume_own_directory_t directory;
    exports_dockside_driver_volume_volume_info_t info;
    CHECK(create("mode", "0750"));
    host_lose_directory("data");
    CHECK(exports_dockside_driver_volume_get(&name, &info, &error) && !info.mountpoint.is_some);
    CHECK(!exports_dockside_driver_volume_mount(&name, &id, &directory, &error));
    CHECK(error.code == DOCKSIDE_DRIVER_TYPES_ERROR_CODE_UNAVAILABLE);
    CHECK(exports_dockside_driver_volume_remove(&name, &error));
}

int main(void) {
    name = text("data");
    id = text("container");
    RUN(a_volume_lives_from_create_to_remove);
    RUN(the_same_name_with_other_options_is_an_error);
    RUN(an_option_that_makes_no_sense_is_refused);
    RUN(a_directory_that_is_gone_does_not_make_docker_forget_the_volume);
}
