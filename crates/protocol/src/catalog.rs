//! The catalog: validated types of `catalog.toml` (written by the models helper).
