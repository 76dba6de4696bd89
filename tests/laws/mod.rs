//! Laws that hold for every kind of repository, each run for all of them through one trait ([`kinds::Kind`]).

mod apart;
mod cut;
mod held;
mod kinds;
