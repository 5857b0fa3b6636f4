//! Signatures, key lists, receipts and DIDs.

use serde_json::{Value, json};

use cmtp_spec::{EntryFlags, EntryType, JournalMode, KeyUse, Opcode, Status};

use super::{Case, Outcome, Stop, hex, number, to_array, to_number};
use crate::hash::Digest;
use crate::key::{PublicKey, Signature, SigningKey};
use crate::keylist::{KeyList, ListedKey};
use crate::merkle::Tree;
use crate::receipt::{Entry, Receipt, ReceiptError, Statement};

pub(super) fn verify(case: &Case) -> Outcome {
    let (key, usage) = (case.key("key"), case.text("use"));
    let (payload, signature) = (case.bytes("payload"), Signature(case.array("signature")));
    key.verify(usage, &payload, &signature)?;
    Ok(json!({}))
}

pub(super) fn sign(case: &Case) -> Outcome {
    let (key, usage) = (SigningKey::from_seed(&case.array("seed"))?, case.text("use"));
    let payload = case.bytes("payload");
    let signature = key.sign(usage, &payload);
    key.public().verify(usage, &payload, &signature)?;
    Ok(json!({ "key": hex(key.public().0), "signature": hex(signature.0) }))
}

pub(super) fn key_list(case: &Case) -> Outcome {
    let input = case.bytes("input");
    let trusted = case.value("trusted");
    let (seen, at): (u64, _) = (case.number("seen"), case.number("at"));

    let list = KeyList::from_bytes(input.clone())?;
    assert_eq!(list.to_bytes(), input, "CNV-5");
    let found = list_json(&list);
    assert_eq!(to_list(&found).to_bytes(), input, "made from its parts");
    // [RCP-2] What it trusts and has seen the receiver knows; the codec has the signature to check.
    if *trusted != Value::Null && list.root != PublicKey(to_array(trusted)) || list.number < seen {
        return Err(Stop::invalid("RCP-2"));
    }
    let list = list.verify()?;
    let layer_keys: Vec<_> = list
        .keys
        .iter()
        .filter(|listed| listed.key_use == KeyUse::LAYER)
        .filter(|listed| (listed.not_before..listed.not_after).contains(&at))
        .inspect(|listed| assert!(list.allows(KeyUse::LAYER, &listed.key, at)))
        .map(|listed| hex(listed.key.0))
        .collect();
    for listed in &list.keys {
        let allowed = list.allows(KeyUse::LAYER, &listed.key, at);
        assert_eq!(allowed, layer_keys.contains(&hex(listed.key.0)));
    }
    Ok(json!({ "list": found, "layerKeys": layer_keys }))
}

pub(super) fn receipt(case: &Case) -> Outcome {
    let (input, key) = (case.bytes("input"), case.key("key"));
    let (opcode, id) = (case.value("opcode"), case.value("messageId"));
    let status = Status(case.number("status"));
    let (layers, seal) = (case.number("layers"), case.digest("seal"));

    let receipt = Receipt::from_bytes(input.clone())?;
    assert_eq!(receipt.to_bytes(), input, "CNV-5");
    let entry = receipt.entry(status, layers, seal);
    receipt.verify(&key, &entry)?;
    // [RCP-4] As `Unverified::<Message>::verify` compares them with the origin's fields.
    let other_opcode = !opcode.is_null() && Opcode(to_number(opcode)) != receipt.opcode;
    if other_opcode || !id.is_null() && to_array(id) != receipt.message_id {
        return Err(ReceiptError::OtherEntry.into());
    }
    let Receipt { statement, .. } = &receipt;
    let path: Vec<_> = receipt.path.iter().map(|hash| hex(hash.0)).collect();
    let found = json!({
        "logOrigin": statement.log_origin,
        "firstIndex": number(statement.first_index.unwrap_or(u64::MAX)),
        "count": statement.count, "commitRoot": hex(statement.root.0), "mode": statement.mode.0,
        "time": number(statement.time), "mergeDelay": statement.merge_delay,
        "entryType": receipt.entry_type.0, "entryOpcode": receipt.opcode.0,
        "entryFlags": receipt.entry_flags.0, "entryMessageId": hex(receipt.message_id),
        "offset": receipt.offset, "path": path,
        "entry": hex(entry.to_bytes()), "leafHash": hex(entry.leaf().0),
    });
    assert_eq!(made(&found, receipt.signature).to_bytes(), input, "made from its parts");
    Ok(found)
}

pub(super) fn entry(case: &Case) -> Outcome {
    let input = case.bytes("input");
    // A log is read by the length of an entry, so that another length is none.
    let bytes = input.as_slice().try_into().map_err(|_| Stop::invalid("not 68 bytes"))?;
    let entry = Entry::from_bytes(bytes).ok_or(Stop::invalid("no entry of this version"))?;
    assert_eq!(entry.to_bytes().as_slice(), input, "CNV-5");
    Ok(json!({
        "entryType": entry.entry_type.0, "opcode": entry.opcode.0, "entryFlags": entry.flags.0,
        "status": entry.status.0, "layers": entry.layers, "time": number(entry.time),
        "messageId": hex(entry.message_id), "seal": hex(entry.seal.0),
        "leafHash": hex(entry.leaf().0),
    }))
}

pub(super) fn commit(case: &Case) -> Outcome {
    let read = |value: &Value| Entry::from_bytes(&to_array(value)).unwrap();
    let entries: Vec<_> = case.list("entries").iter().map(read).collect();
    let key = SigningKey::from_seed(&case.array("seed"))?;
    let first_index = case.number("firstIndex");

    let tree = Tree::new(entries.iter().map(Entry::leaf).collect());
    let statement = Statement {
        log_origin: case.text("logOrigin").into(),
        first_index: (first_index != u64::MAX).then_some(first_index),
        count: u32::try_from(entries.len()).unwrap(),
        root: tree.root(),
        mode: JournalMode(case.number("mode")),
        time: entries[0].time,
        merge_delay: case.number("mergeDelay"),
    };
    let signature = statement.sign(&key);
    let mut paths = Vec::new();
    for (offset, entry) in (0..).zip(&entries) {
        let receipt = Receipt {
            statement: statement.clone(),
            signature,
            entry_type: entry.entry_type,
            opcode: entry.opcode,
            entry_flags: entry.flags,
            message_id: entry.message_id,
            offset,
            path: tree.path(offset as usize),
        };
        let receipt = Receipt::from_bytes(receipt.to_bytes())?;
        receipt.verify(&key.public(), entry)?;
        let index = statement.first_index.map(|first| first + u64::from(offset));
        assert_eq!(receipt.index(), index);
        paths.push(receipt.path.iter().map(|hash| hex(hash.0)).collect::<Vec<_>>());
    }
    Ok(json!({
        "commitRoot": hex(tree.root().0), "signature": hex(signature.0), "paths": paths,
    }))
}

pub(super) fn did(case: &Case) -> Outcome {
    let did = case.text("did");
    let key: PublicKey = did.parse()?;
    assert_eq!(key.to_string(), did, "CNV-5");
    Ok(json!({ "key": hex(key.0) }))
}

pub(super) fn list_json(list: &KeyList) -> Value {
    let keys = list.keys.iter().map(|listed| {
        json!({
            "use": listed.key_use.0, "key": hex(listed.key.0),
            "notBefore": number(listed.not_before), "notAfter": number(listed.not_after),
        })
    });
    json!({
        "root": hex(list.root.0), "number": number(list.number),
        "keys": keys.collect::<Vec<_>>(), "signature": hex(list.signature.0),
    })
}

pub(super) fn to_list(value: &Value) -> KeyList {
    let listed = |value: &Value| ListedKey {
        key_use: KeyUse(to_number(&value["use"])),
        key: PublicKey(to_array(&value["key"])),
        not_before: to_number(&value["notBefore"]),
        not_after: to_number(&value["notAfter"]),
    };
    KeyList {
        root: PublicKey(to_array(&value["root"])),
        number: to_number(&value["number"]),
        keys: value["keys"].as_array().unwrap().iter().map(listed).collect(),
        signature: Signature(to_array(&value["signature"])),
    }
}

fn made(parts: &Value, signature: Signature) -> Receipt {
    let first_index = to_number(&parts["firstIndex"]);
    let path = parts["path"].as_array().unwrap();
    Receipt {
        statement: Statement {
            log_origin: parts["logOrigin"].as_str().unwrap().into(),
            first_index: (first_index != u64::MAX).then_some(first_index),
            count: to_number(&parts["count"]),
            root: Digest(to_array(&parts["commitRoot"])),
            mode: JournalMode(to_number(&parts["mode"])),
            time: to_number(&parts["time"]),
            merge_delay: to_number(&parts["mergeDelay"]),
        },
        signature,
        entry_type: EntryType(to_number(&parts["entryType"])),
        opcode: Opcode(to_number(&parts["entryOpcode"])),
        entry_flags: EntryFlags(to_number(&parts["entryFlags"])),
        message_id: to_array(&parts["entryMessageId"]),
        offset: to_number(&parts["offset"]),
        path: path.iter().map(to_array).map(Digest).collect(),
    }
}
