use std::path::Path;

use crate::config::Plugin;

#[test]
fn the_settings_that_ship_with_drivers_can_be_read() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let mut read = 0;
    for entry in std::fs::read_dir(&guests).unwrap() {
        let directory = entry.unwrap().path();
        let name = directory
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let file = directory.join(format!("{name}.toml"));
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let settings = Plugin::parse(&text, &directory);
        assert!(
            settings.is_ok(),
            "{}: {}",
            file.display(),
            settings.unwrap_err()
        );
        read += 1;
    }
    assert!(read >= 5, "{read} files below {}", guests.display());
}
