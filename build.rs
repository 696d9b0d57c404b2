//! Embedded migrations are read by a macro, whose inputs cargo does not see.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
