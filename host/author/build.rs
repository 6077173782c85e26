//! Has the crate compiled again when a template is added or removed, which the compiler does not see.

fn main() {
    for directory in ["templates", "../../wit", "../../guests/kit/src"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}
