//! What a decision costs: judged anew, and kept.
//!
//! `cargo bench -p cmtp-client --bench policy`
//!
//! - `judged`: by 1, 10 and 100 policies, the last of which permits, for a subject with two groups and two attributes.
//! - `kept`: the same question again, as a node asks it for each request of a caller.
#![expect(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use cmtp_client::policy::{Decider, GrantedBy, Policies, Question, Subject};
use cmtp_codec::{Fqmn, PolicyFiles, SigningKey};

fn decide(criterion: &mut Criterion) {
    let principal = SigningKey::from_seed(&[7; 32]).unwrap().public();
    let target = Fqmn::parse("0xSW:0x001:orders:2026:color").unwrap();
    let mut subject = Subject::default();
    subject.groups.extend(["editors".to_owned(), "zurich".to_owned()]);
    subject.attributes.insert("country".to_owned(), "ch".to_owned());
    subject.attributes.insert("department".to_owned(), "print".to_owned());
    let granted = GrantedBy::Session;
    let question = Question { principal, subject: &subject, granted, target: &target };
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    for count in [1, 10, 100] {
        let policies = policies(count);
        assert!(policies.decide(&question).is_allowed);
        group.bench_function(BenchmarkId::new("judged", count), |bencher| {
            bencher.iter(|| policies.decide(black_box(&question)));
        });
        let decider = Decider::new(policies);
        decider.decide(&question);
        group.bench_function(BenchmarkId::new("kept", count), |bencher| {
            bencher.iter(|| decider.decide(black_box(&question)));
        });
    }
    group.finish();
}

/// So many policies, each for a group and a place of its own; the last is for the subject.
fn policies(count: usize) -> Policies {
    let other = |number: usize| {
        format!(
            "permit (principal in Group::\"team-{number}\", action in [Action::\"read\", Action::\"write\"], \
             resource in Fqmn::\"0xS:0x{number:03x}\") when {{ context.granted == \"session\" }};\n"
        )
    };
    let mut text: String = (1..count).map(other).collect();
    text.push_str(
        "permit (principal in Group::\"editors\", action == Action::\"write\", resource in Fqmn::\"0xS:0x001\") \
         when { principal.hasTag(\"country\") && principal.getTag(\"country\") == \"ch\" };",
    );
    let mut files = PolicyFiles::default();
    files.insert("bench.cedar", text).unwrap();
    Policies::of(&files).unwrap()
}

criterion_group!(benches, decide);
criterion_main!(benches);
