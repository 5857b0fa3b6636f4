//! Attacks on tokens and on the session handshake, over real QUIC against a real `cmtpd serve`: each has a name, is refused
//! with a status and one sentence that tells nothing, leaves a node that serves who has a session, and is counted in its
//! journal under the reason that it was refused for.
//!
//! One test runs all of them one after the other, so that the number that it prints is the number that ran.

mod answers;
mod consents;
mod hellos;
mod nodes;
mod proofs;
mod rates;
mod renewals;
mod revoked;
mod scene;
mod tokens;

use scene::Attacks;

#[tokio::test]
async fn no_attack_is_accepted() {
    let mut attacks = Attacks::default();
    tokens::run(&mut attacks).await;
    proofs::run(&mut attacks).await;
    hellos::run(&mut attacks).await;
    answers::run(&mut attacks).await;
    consents::run(&mut attacks).await;
    renewals::run(&mut attacks).await;
    revoked::run(&mut attacks).await;
    rates::run(&mut attacks).await;
    nodes::run(&mut attacks).await;
    attacks.report();
}
