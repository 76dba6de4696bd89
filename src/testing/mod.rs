//! Tests that need several rooms of the registry at once and look into them, which no black-box test can.
//!
//! Last of the layers and compiled for tests alone: it may import every module, and none imports it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod epochs;
mod power;
