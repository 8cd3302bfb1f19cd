//! What users do, from one end to the other, with the parts they have: cargo and git.

mod stories;
