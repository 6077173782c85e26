//! File systems that do not answer.

use std::os::fd::AsRawFd;

use super::*;

/// Mounts a FUSE file system that nobody serves: whoever asks it for anything waits until the returned file is closed.
fn silent(path: &Path) -> Option<std::fs::File> {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    let Ok(device) = device else {
        println!("skipped: no /dev/fuse");
        return None;
    };
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let data = std::ffi::CString::new(data).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("silent", path, "fuse", flags, data.as_c_str()).unwrap();
    Some(device)
}

#[test]
fn health_tells_alive_from_silent_from_dead() {
    let Some(place) = Place::new() else { return };
    let ask = |path: &Path, timeout| health_with(&worker(), path, timeout);
    let long = Duration::from_secs(60);
    let mount = place.tmpfs();
    assert!(matches!(ask(&mount.point, long), Health::Dead(_)));
    make(&mount);
    assert_eq!(ask(&mount.point, long), Health::Alive);
    unmake(&mount);
    let path = place.directory("silent");
    let Some(device) = silent(&path) else { return };
    assert_eq!(ask(&path, Duration::from_millis(300)), Health::Silent);
    drop(device);
    // As long as the worker that was killed has not gone, nobody else is sent after it.
    let text = loop {
        match ask(&path, long) {
            Health::Silent => std::thread::yield_now(),
            Health::Dead(text) => break text,
            Health::Alive => panic!("a file system without a server lives"),
        }
    };
    assert!(text.contains("not connected"), "{text}");
}

/// Begins the conversation that the kernel has with every FUSE server, and then takes one request and never answers it.
fn take_one_request(device: &std::fs::File) {
    use std::io::{Read, Write};
    let mut device = device;
    let mut request = vec![0; 1 << 17];
    assert!(device.read(&mut request).unwrap() >= 40);
    let unique = &request[8..16].to_vec();
    // struct fuse_out_header: length, error, the request's number; then struct fuse_init_out: version 7.31 and zeroes, which are defaults.
    let mut answer = vec![0; 16 + 64];
    answer[0..4].copy_from_slice(&80_u32.to_ne_bytes());
    answer[8..16].copy_from_slice(unique);
    answer[16..20].copy_from_slice(&7_u32.to_ne_bytes());
    answer[20..24].copy_from_slice(&31_u32.to_ne_bytes());
    answer[36..40].copy_from_slice(&4096_u32.to_ne_bytes());
    device.write_all(&answer).unwrap();
    let _ = device.read(&mut request).unwrap();
}

#[test]
fn only_one_process_waits_for_a_file_system_that_never_lets_it_go() {
    let Some(place) = Place::new() else { return };
    let path = place.directory("stuck");
    let Some(device) = silent(&path) else { return };
    let server = device.try_clone().unwrap();
    let taken = std::thread::spawn(move || take_one_request(&server));
    let mut patience = Duration::from_millis(300);
    // A worker on a busy machine may be killed before it asks.
    while !taken.is_finished() {
        assert_eq!(health_with(&worker(), &path, patience), Health::Silent);
        patience *= 2;
    }
    taken.join().unwrap();
    let absent = Worker::program("/absent", [worker::ARGUMENT]);
    assert_eq!(health_with(&absent, &path, patience), Health::Silent);
    drop(device);
}

#[test]
fn a_source_that_does_not_answer_ends_at_the_deadline_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let Some(_device) = silent(&place.directory("granted")) else {
        return;
    };
    let mount = place.bind("granted", "a/b");
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = perform_with(&worker(), &mount, &no_secrets, deadline).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("did not answer in time"), "{error}");
    place.assert_nothing_left(&mount);
}

#[test]
fn a_mount_that_does_not_answer_is_taken_away() {
    let Some(place) = Place::new() else { return };
    let mount = place.tmpfs();
    std::fs::create_dir_all(&mount.point).unwrap();
    let Some(_device) = silent(&mount.point) else {
        return;
    };
    assert!(matches!(look(&mount).unwrap(), Presence::Changed(_)));
    unmake(&mount);
    place.assert_nothing_left(&mount);
}

#[test]
fn a_worker_answers_nobody_but_its_parent() {
    let run = |text: &str| {
        let mut child = this_test("worker");
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let ask = |parent: u32| {
        run(&format!(
            r#"{{"parent":{parent},"request":{{"ask":"health","point":"/"}}}}"#
        ))
    };
    assert!(ask(std::process::id()).contains(r#"{"health":"alive"}"#));
    assert!(!ask(1).contains("health"));
    for text in ["", "{", "[]", r#"{"parent":1}"#, "\0"] {
        assert!(!run(text).contains('{'), "{text}");
    }
}

#[test]
fn a_worker_that_cannot_be_started_or_says_nothing_is_an_error() {
    let Some(place) = Place::new() else { return };
    let mount = place.mount(Source::Nfs {
        server: "127.0.0.1".into(),
        path: "/x".into(),
        version: String::new(),
        options: Vec::new(),
    });
    for (program, text) in [
        ("/absent", "start the mount worker"),
        ("true", "without an answer"),
    ] {
        let worker = Worker::program(program, [worker::ARGUMENT]);
        let error = perform_with(&worker, &mount, &no_secrets, soon()).unwrap_err();
        assert!(error.message.contains(text), "{error}");
        place.assert_nothing_left(&mount);
    }
}

#[test]
fn a_network_file_system_that_the_kernel_lacks_is_named() {
    let Some(place) = Place::new() else { return };
    let kernel = std::fs::read_to_string("/proc/filesystems").unwrap();
    let nfs = Source::Nfs {
        server: "127.0.0.1".into(),
        path: "/x".into(),
        version: "4.2".into(),
        options: Vec::new(),
    };
    let cifs = Source::Cifs {
        server: "127.0.0.1".into(),
        share: "x".into(),
        username: Some("u".into()),
        domain: None,
        password: Some("p".into()),
        options: Vec::new(),
    };
    for (name, source) in [("nfs", nfs), ("cifs", cifs)] {
        if kernel.contains(name) {
            println!("skipped: this kernel has {name}");
            continue;
        }
        let mount = place.mount(source);
        let secrets = |_: &str| Ok(b"very secret".to_vec());
        let error = perform_with(&worker(), &mount, &secrets, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Missing, "{error}");
        assert!(error.message.contains(name), "{error}");
        place.assert_nothing_left(&mount);
    }
}
