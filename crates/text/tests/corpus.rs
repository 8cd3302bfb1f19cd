//! Replays the fuzz corpus of what turns the bytes of tokens into text.

#[path = "../../../fuzz/checks/detokenise.rs"]
mod detokenise;

#[test]
fn all_bytes_of_the_corpus_are_handled() {
    testkit::corpus::replay("detokenise", detokenise::check);
}
