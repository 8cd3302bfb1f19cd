//! What tests of several crates share: fakes, fixtures, small models. Nothing of it is in a product.

pub mod conformance;
pub mod corpus;
pub mod fake_worker;
pub mod hub;
pub mod memory;
pub mod real_model;
pub mod tiny_model;
