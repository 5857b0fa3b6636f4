//! Project Wycheproof's cases for Ed25519, all of them, through the check that every signature goes through.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use wycheproof::TestResult;
use wycheproof::eddsa::{TestFlag, TestName, TestSet};

use crate::key::{PublicKey, Signature};

#[test]
fn each_case_is_accepted_or_refused_as_it_says() {
    // [SIG-1] [SIG-4] The set has no case for which chapter 5 is stricter: none is merely `acceptable`, and a key of small
    // order (SIG-3) or in a second encoding (SIG-2), for which others differ, stands in none; signature.json has those.
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut flags: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut count, mut wrong) = (0, Vec::new());
    for group in &set.test_groups {
        let key = PublicKey(group.key.pk.as_slice().try_into().unwrap());
        assert_eq!(key.check(), Ok(()), "each key of the set is one that chapter 5 takes");
        for test in &group.tests {
            // What is not 64 bytes long is no signature, before any key is asked.
            let signature = <[u8; 64]>::try_from(test.sig.as_slice()).map(Signature);
            let is_accepted =
                signature.is_ok_and(|signature| key.verify_bytes(&test.msg, &signature).is_ok());
            let expected = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => unreachable!("{} is neither valid nor not", test.tc_id),
            };
            if is_accepted != expected {
                wrong.push(format!("{} ({}): {expected} expected", test.tc_id, test.comment));
            }
            for flag in &test.flags {
                let (accepted, refused) = flags.entry(format!("{flag:?}")).or_default();
                *if is_accepted { accepted } else { refused } += 1;
            }
            count += 1;
        }
    }
    println!("wycheproof: {count} cases of Ed25519, by flag (accepted, refused): {flags:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, set.number_of_tests);
    // A set that grows by what is not thought of here is looked at.
    let known = [
        TestFlag::CompressedSignature,
        TestFlag::InvalidEncoding,
        TestFlag::InvalidKnownTestVector,
        TestFlag::InvalidSignature,
        TestFlag::KnownTestVector,
        TestFlag::SignatureMalleability,
        TestFlag::SignatureWithGarbage,
        TestFlag::TinkOverflow,
        TestFlag::TruncatedSignature,
        TestFlag::Valid,
    ];
    let known: Vec<_> = known.iter().map(|flag| format!("{flag:?}")).collect();
    assert!(flags.keys().eq(known.iter()), "{flags:?}");
}
