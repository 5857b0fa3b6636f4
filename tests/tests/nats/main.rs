//! Services on a real nats-server, reached through a real node: plain ones, and what becomes of requests when a service or
//! the server fails.

mod broker;
mod forgery;
mod instances;
mod keys;
mod layered;
mod plain;
mod replies;
mod scene;
mod traffic;
