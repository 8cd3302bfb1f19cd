//! A file a story.

mod candle;
mod elsewhere;
mod fresh_clone;
mod model;
