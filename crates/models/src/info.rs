//! What an installed model says about itself.
