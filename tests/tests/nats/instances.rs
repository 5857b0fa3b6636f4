//! Several instances of a layered service in a queue group: one dies, one is told to stop.

use std::collections::BTreeMap;

use cmtp_spec::Status;

use crate::scene::{Scene, route};
use crate::traffic::{Process, Told, Traffic};

/// How often each status came.
fn statuses(told: &[Told]) -> BTreeMap<u16, usize> {
    told.iter().fold(BTreeMap::new(), |mut counts, told| {
        *counts.entry(told.status.0).or_default() += 1;
        counts
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_takes_no_request_with_it() {
    // [NAT-5] [NAT-18] [JRN-2]
    let scene = Scene::new("", &route("hello", "hello", "timeout-ms = 2000")).await;
    let mut instances = [(); 3].map(|()| Process::start(&scene, "hello"));
    let traffic = Traffic::begin(&scene, "hello", 16);
    traffic.served(300).await;
    instances[0].kill();
    traffic.served(600).await;
    let told = traffic.end(&scene).await;
    println!("{:?}", statuses(&told));
    for Told { status, detail, .. } in &told {
        // What the dead one had is late, and nothing else happens.
        assert!([Status::OK, Status::DEADLINE_EXCEEDED].contains(status), "{status} {detail}");
    }
    let late = told.iter().filter(|told| told.status != Status::OK).count();
    assert!(late <= 16, "{late} of 16 at a time were with one that died");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_told_to_stop_finishes_what_it_has() {
    let scene = Scene::new("", &route("hello", "hello", "timeout-ms = 2000")).await;
    let mut instances = vec![Process::start(&scene, "hello"), Process::start(&scene, "hello")];
    let traffic = Traffic::begin(&scene, "hello", 16);
    for _ in 0..DRAINS {
        traffic.served(150).await;
        let drained = instances.remove(0);
        tokio::task::block_in_place(|| drained.drain());
        instances.push(Process::start(&scene, "hello"));
    }
    traffic.served(150).await;
    let told = traffic.end(&scene).await;
    println!("{:?}", statuses(&told));
    let of = |status: Status| told.iter().filter(|told| told.status == status).count();
    let (served, late) = (of(Status::OK), of(Status::DEADLINE_EXCEEDED));
    assert_eq!(served + late, told.len(), "{:?}", statuses(&told));
    // The NATS client forgets a subscription before the server does, so what is on its way just then is lost with it: much
    // less than the requests that the instance has.
    assert!(late < 16 * DRAINS / 2, "{late} requests were lost");
}

const DRAINS: usize = 3;
