//! Services on a real nats-server, reached through a real node: plain ones, and what becomes of requests when a service or
//! the server fails.

mod broker;
mod instances;
mod layered;
mod plain;
mod replies;
mod scene;
mod traffic;
