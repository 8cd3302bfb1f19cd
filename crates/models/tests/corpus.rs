//! Replays the fuzz corpora of what this crate reads from people.

#[path = "../../../fuzz/checks/catalog_toml.rs"]
mod catalog_toml;
#[path = "../../../fuzz/checks/model_ref_parse.rs"]
mod model_ref_parse;

use testkit::corpus::replay;

#[test]
fn every_catalog_of_the_corpus_is_handled() {
    replay("catalog_toml", catalog_toml::check);
}

#[test]
fn every_reference_of_the_corpus_is_handled() {
    replay("model_ref_parse", model_ref_parse::check);
}
