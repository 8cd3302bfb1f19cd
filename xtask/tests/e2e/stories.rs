//! A file a story.

mod elsewhere;
mod fresh_clone;
mod model;
