//! One file a story.

mod candle;
