//! What crate `models` believes of crate `text`: this is the one crate that sees both.

#[test]
fn the_list_of_tokenizers_is_what_text_reads() {
    let read: Vec<String> = text::pre_tokenizers().map(|name| format!("gpt2/{name}")).collect();
    assert_eq!(models::runnable::TOKENIZERS.to_vec(), read);
}
