//! Checkpoints to GGUF, and GGUF to smaller GGUF: one pass, bounded memory, the same bytes every time.
//!
//! [`checkpoint::convert`] reads a directory with `config.json` and safetensors and writes what the reference converter
//! writes; [`quantize::quantize`] does what the reference quantizer does. Both plan every tensor first ([`plan`]), stream it in
//! chunks of rows ([`pipeline`]) into a partial file with a journal ([`output`]), check the result ([`check`]) and only
//! then give it its name. What does not live here: fetching (crate `models`), what an architecture computes (crate
//! `architectures`), progress bars (the caller's).

pub mod blocks;
pub mod check;
pub mod checkpoint;
pub mod error;
pub mod event;
mod front;
pub mod quantize;
pub mod safetensors;

pub mod cli;
pub mod print;
pub mod signals;

mod output;
mod panels;
mod pipeline;
mod plan;
mod provenance;
mod source;

pub use error::{Code, ConvertError};
pub use event::{Event, Observer, Report};
