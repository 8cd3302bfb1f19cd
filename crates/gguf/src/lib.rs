//! The one GGUF reader and the one GGUF writer.
//!
//! Reader: [`Gguf::open`] maps a file and hands it out only after the whole header was checked; [`Header::parse`] is the same
//! check as a pure function over bytes. Nothing is allocated that the bytes of the file do not justify, and no input panics.
//! Writer: [`Writer`] streams version 3, one tensor after another, without holding a tensor in memory.
//!
//! What does not live here: what a key or a tensor *means* (crate `architectures`), how a block of weights is computed with
//! (crate `engine`), where files come from (crate `models`).

mod cursor;
mod error;
mod file;
mod header;
pub mod limits;
mod metadata;
mod strings;
mod tensor;
mod tensor_type;
mod value;
mod writer;

pub use error::{ParseError, ParseErrorKind};
pub use file::{Gguf, Mapping, OpenError, TensorError};
pub use header::Header;
pub use metadata::{Metadata, MetadataError};
pub use strings::StringArray;
pub use tensor::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Array, Value, ValueType};
pub use writer::{Layout, TensorSpec, WriteError, Writer};
