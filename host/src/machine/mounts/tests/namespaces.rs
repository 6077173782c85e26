//! Mounts as other mount namespaces see them.

use std::sync::mpsc;

use super::*;

/// Mounts a tmpfs at a directory, with a propagation of its own.
fn base(path: &Path, propagation: MountPropagationFlags) {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("base", path, "tmpfs", flags, c"").unwrap();
    rustix::mount::mount_change(path, propagation).unwrap();
}

/// What another mount namespace, made before, has at a point after `work`.
fn seen_elsewhere(mount: &Mount, work: impl FnOnce()) -> Option<MountInfo> {
    std::thread::scope(|scope| {
        let (ready, made) = mpsc::channel();
        let (done, finished) = mpsc::channel();
        let other = scope.spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
            ready.send(()).unwrap();
            finished.recv().unwrap();
            mounted_below(&mount.point).unwrap().pop()
        });
        made.recv().unwrap();
        work();
        done.send(()).unwrap();
        other.join().unwrap()
    })
}

fn all(place: &Place) -> Vec<Mount> {
    place.directory("granted/a");
    let mut all = vec![place.bind("granted", "a"), place.tmpfs()];
    all.extend(place.disk(Filesystem::Ext4));
    all
}

#[test]
fn a_mount_below_a_shared_one_reaches_the_others_with_all_its_flags() {
    let Some(place) = Place::new() else { return };
    let all = all(&place);
    base(&place.path("mounts"), MountPropagationFlags::SHARED);
    for mount in all {
        let seen = seen_elsewhere(&mount, || make(&mount)).expect("it is not seen");
        for option in ["nosuid", "nodev"] {
            assert!(seen.options.iter().any(|had| had == option), "{seen:?}");
        }
        assert!(info(&mount).propagation[0].starts_with("shared:"));
        assert!(seen_elsewhere(&mount, || unmake(&mount)).is_none());
    }
}

#[test]
fn a_mount_below_a_private_one_stays_private_also_when_its_source_is_shared() {
    let Some(place) = Place::new() else { return };
    let all = all(&place);
    base(&place.path("mounts"), MountPropagationFlags::PRIVATE);
    base(&place.directory("granted"), MountPropagationFlags::SHARED);
    place.directory("granted/a");
    for mount in all {
        assert!(seen_elsewhere(&mount, || make(&mount)).is_none());
        assert_eq!(info(&mount).propagation, Vec::<String>::new());
        unmake(&mount);
    }
}

#[test]
fn a_bind_keeps_what_its_source_forbids() {
    let Some(place) = Place::new() else { return };
    let granted = place.directory("granted");
    let flags = rustix::mount::MountFlags::NOEXEC | rustix::mount::MountFlags::NOSUID;
    rustix::mount::mount("granted", &granted, "tmpfs", flags, c"").unwrap();
    place.directory("granted/a");
    let mut mount = place.bind("granted", "a");
    mount.flags.allow_suid = true;
    mount.flags.allow_dev = true;
    make(&mount);
    let options = info(&mount).options;
    assert!(options.iter().any(|option| option == "noexec"));
    assert!(options.iter().any(|option| option == "nosuid"));
    assert!(!options.iter().any(|option| option == "nodev"));
    assert_eq!(look(&mount).unwrap(), Presence::Present);
    unmake(&mount);
}

#[test]
fn a_bind_does_not_take_mounts_below_along() {
    let Some(place) = Place::new() else { return };
    base(
        &place.directory("granted/a"),
        MountPropagationFlags::PRIVATE,
    );
    std::fs::write(place.path("granted/a/secret"), "").unwrap();
    let mount = place.bind("granted", "");
    make(&mount);
    assert!(mount.point.join("a").exists());
    assert!(!mount.point.join("a/secret").exists());
    unmake(&mount);
    let inside = place.bind("granted", "a");
    make(&inside);
    assert!(inside.point.join("secret").exists());
    assert_eq!(look(&inside).unwrap(), Presence::Present);
    unmake(&inside);
}

#[test]
fn a_mount_is_found_through_a_symbolic_link_to_the_data_directory() {
    let Some(place) = Place::new() else { return };
    std::os::unix::fs::symlink(place.directory.path(), place.path("link")).unwrap();
    place.directory("granted/a");
    let mut mount = place.bind("link/granted", "a");
    mount.point = place.path("link/mounts/plugin").join(&mount.id);
    make(&mount);
    assert_eq!(look(&mount).unwrap(), Presence::Present);
    unmake(&mount);
    place.assert_nothing_left(&mount);
}
