//! The server's side of a session, rule by rule.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

mod support;

mod authentication;
mod captures;
mod commands;
mod examples;
mod objects;
mod order;
mod packages;
mod record;
mod server_proof;
