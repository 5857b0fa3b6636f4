//! Peers that break rules, on purpose or not, against a real `cmtpd serve`: each case has a name, ends as it must, and
//! leaves a node that answers the next one.
//!
//! One test runs all of them one after the other, so that the number of cases it prints is the number that ran.

mod control;
mod floods;
mod frames;
mod handshake;
mod layers;
mod lengths;
mod origins;
mod raw;
mod room;
mod scene;
mod slow;
mod tokens;

use scene::Cases;

#[tokio::test]
async fn every_bad_peer_is_answered_and_survived() {
    let mut cases = Cases::default();
    frames::run(&mut cases).await;
    layers::run(&mut cases).await;
    lengths::run(&mut cases).await;
    origins::run(&mut cases).await;
    tokens::run(&mut cases).await;
    control::run(&mut cases).await;
    handshake::run(&mut cases).await;
    slow::run(&mut cases).await;
    room::run(&mut cases).await;
    floods::run(&mut cases).await;
    cases.report();
}
