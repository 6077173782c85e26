# What the exercises have in common: to be read by them with `source`.
#
# An exercise is a series of commands as a user types them, and of what he sees then. It runs on any machine whose engine finds dockside's
# plugins; `docker` is that engine's client. It ends at the first command that fails or shows something else, and takes away what it made.
set -euo pipefail

# What the last command showed.
shown=

# Says what comes: step "Install the plugin"
step() { printf '\n# %s\n' "$*"; }

# Shows a command, runs it, and shows what it says: run docker volume ls
run() {
    printf '$ %s\n' "$*"
    if ! shown=$("$@" 2>&1); then
        printf '%s\n' "$shown"
        fail "this command failed"
    fi
    printf '%s\n' "$shown"
}

# The same for a command that has to fail.
refused() {
    printf '$ %s\n' "$*"
    if shown=$("$@" 2>&1); then
        printf '%s\n' "$shown"
        fail "this command succeeded"
    fi
    printf '%s\n' "$shown"
}

# What the last command must have shown, each as an extended regular expression in a line: see 'Installed plugin' 'vieux/sshfs'
see() {
    local wanted
    for wanted; do
        grep -Eq -e "$wanted" <<<"$shown" || fail "this does not show $wanted"
    done
}

# What it must not have shown.
see_no() {
    local unwanted
    for unwanted; do
        ! grep -Eq -e "$unwanted" <<<"$shown" || fail "this shows $unwanted"
    done
}

fail() {
    printf '\n%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# An image that can be there without the Internet.
image=${IMAGE:-busybox}
