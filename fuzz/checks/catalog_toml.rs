//! What must hold of any text that is read as a catalog. Shared by the fuzz target and the test that replays its corpus.

use models::catalog::Catalog;

/// Panics if a promise is broken.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let catalog = match Catalog::parse(text, "catalog.toml") {
        Ok(catalog) => catalog,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for entry in catalog.entries() {
        for name in [entry.id.as_str()].into_iter().chain(entry.aliases.iter().map(|alias| alias.as_str())) {
            assert!(catalog.find(name).is_ok_and(|found| found == entry), "`{name}` is not found");
        }
        assert!(!entry.files().is_empty());
        for file in entry.files() {
            assert!(file.name.components().all(is_safe), "`{}` leaves its folder", file.name);
        }
    }
}

fn is_safe(component: &str) -> bool {
    !component.is_empty() && !component.starts_with('.') && !component.contains(['/', '\\', ':', '\0'])
}
