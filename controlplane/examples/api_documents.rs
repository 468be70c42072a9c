//! Writes what is made of the API's routes: `ci/openapi/causeway-v1.json`, and the tables of `docs/api.md`.

use std::error::Error;
use std::fs;
use std::path::Path;

use causeway_controlplane::api::{manual, openapi};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = root.join("ci/openapi");
    fs::create_dir_all(&document)?;
    fs::write(document.join("causeway-v1.json"), openapi::document())?;
    let path = root.join("docs/api.md");
    let page = manual::page(&fs::read_to_string(&path)?).ok_or("docs/api.md has no place for a table")?;
    fs::write(path, page)?;
    Ok(())
}
