//! What must hold of any text that names a model. Shared by the fuzz target and the test that replays its corpus.

use models::reference::ModelReference;

/// Panics if a promise is broken.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let reference: ModelReference = match text.parse() {
        Ok(reference) => reference,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    // An id is a name in the store: the same reference gets the same one.
    assert_eq!(reference.derived_id(), reference.derived_id());
    match &reference {
        ModelReference::Name(name) => assert_eq!(name, text),
        ModelReference::Path(path) => assert!(path.is_absolute(), "{}", path.display()),
        ModelReference::Hub(hub) => {
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            assert!(hub.revision.iter().all(|revision| revision.as_str().split('/').all(is_safe)));
            assert!(hub.repo.as_str().split('/').all(is_safe));
            // Dots within a name lead nowhere.
            let mut components = hub.file.iter().flat_map(|file| file.components());
            assert!(components.all(|name| !name.starts_with('.') && is_safe(&name.replace("..", ""))));
        }
    }
}

fn is_safe(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_graphic()) && !component.contains("..")
}
