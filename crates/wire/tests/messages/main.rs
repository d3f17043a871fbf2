//! Messages as the other side sees them: what `any` generates and `example` lists comes back from its bytes
//! (`round_trip`), old bytes keep their meaning (`golden`), other versions are understood (`versions`), and nothing a
//! peer sends does harm (`hostile`).

mod any;
mod example;
mod golden;
mod hostile;
mod round_trip;
mod versions;

use fulmar_model::RelPath;

/// A path from its text.
fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text.as_ref()).expect("a valid path")
}
