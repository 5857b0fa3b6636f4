// Made by registry/generate.py from registry/*.toml. Do not edit.

use crate::{Field, FieldClass, FieldKind, Process, Remedy, Retry};

crate::registry! {
    /// Bus authentication schemes: `spec/11-nats.md`.
    BusAuth: u8 {
        NONE = 0, "none", "A layered service without authentication; only where the operator asked for it.";
        MAC = 1, "mac", "HMAC-SHA-256 in both directions.";
        SIGNATURE = 2, "signature", "Ed25519 in both directions.";
        PLAIN = 3, "plain", "A plain service: bus credentials are the root of the answer.";
        LOCAL = 4, "local", "In the node's own process.";
    }
}

crate::registry! {
    /// Bus envelope kinds: `spec/11-nats.md`.
    BusKind: u8 {
        REQUEST = 0, "request", "Node to service: all layers so far, the dispatch layer last.";
        ANSWER = 1, "answer", "Service to node: the serve layer.";
        CANCEL = 2, "cancel", "Node to service: nobody waits for the answer any more.";
        ASK = 3, "ask", "Service to node: give me the keys of this id.";
        KEYS = 4, "keys", "Node to service: the keys that were asked for, sealed.";
    }
}

crate::registry! {
    /// Close codes: `spec/09-quic.md`.
    CloseCode: u64 {
        NO_ERROR = 0x00, "no-error", "Done.";
        INTERNAL = 0x01, "internal", "The peer's own fault.";
        MALFORMED = 0x02, "malformed", "Bytes that no rule of the encoding allows.";
        UNEXPECTED = 0x03, "unexpected", "A well-formed frame in the wrong place.";
        UNKNOWN_CRITICAL = 0x04, "unknown-critical", "An unknown frame or item of even type.";
        LIMIT_EXCEEDED = 0x05, "limit-exceeded", "A length or a count above its limit.";
        SETTINGS = 0x06, "settings", "SETTINGS missing or repeated, or its identifiers out of order.";
        STREAM_CREATION = 0x07, "stream-creation", "A second control stream, or a stream that the peer may not open.";
        CLOSED_CRITICAL_STREAM = 0x08, "closed-critical-stream", "A control stream ended.";
        AUTH_FAILED = 0x09, "auth-failed", "Too many bad tokens or proofs on this connection.";
        CANCELLED = 0x0a, "cancelled", "The request is no longer wanted.";
        NOT_PROCESSED = 0x0b, "not-processed", "The request was not looked at; it may be sent again freely.";
        BAD_CHAIN = 0x0c, "bad-chain", "The answer's layers, seal or receipt do not verify.";
        TIMEOUT = 0x0d, "timeout", "Too slow, or idle too long.";
        UNTRUSTED = 0x0e, "untrusted", "The node's keys are not those that the client trusts.";
        REFUSED = 0x0f, "refused", "The answer stands already and the rest of the request is not read.";
    }
}

crate::registry! {
    /// Connection kinds: `spec/10-admission.md`.
    ConnectionKind: u8 {
        DIRECT = 0, "direct", "The caller's own connection.";
        FORWARDED = 1, "forwarded", "The connection of a node that forwards.";
    }
}

crate::registry! {
    /// Entry flags: `spec/13-receipts.md`.
    EntryFlags: u16 {
        ASYNC = 0x0001, "async", "Written in mode async.";
        OUTCOME_UNKNOWN = 0x0002, "outcome-unknown", "Whether the write had its effect is not known.";
        NO_EFFECT = 0x0004, "no-effect", "The write certainly had no effect; the id is free again.";
        CUT = 0x0008, "cut", "A stream ended before its time.";
    }
}

crate::registry! {
    /// Entry types: `spec/13-receipts.md`.
    EntryType: u8 {
        INTENT = 1, "intent", "A write is about to be dispatched; F is the head at dispatch.";
        OUTCOME = 2, "outcome", "The end of a write; closes its intent, where it had one.";
        EXCHANGE = 3, "exchange", "A read.";
        REFUSAL = 4, "refusal", "A request refused after a token was accepted.";
        SEGMENT = 5, "segment", "An interim seal.";
        CONFIG = 6, "config", "The node's configuration; F is its digest.";
        KEYS = 7, "keys", "The node's key list; F is its digest.";
        REDACTED = 8, "redacted", "The content of a message was erased; F, message id and opcode are those of the entry that ends it.";
        FORGOTTEN = 9, "forgotten", "Content and cores of a message were erased; F, message id and opcode as for `redacted`.";
        OPENED = 10, "opened", "A log was opened; F is the digest of its origin, or of the last checkpoint of the log that it follows.";
        SUMMARY = 11, "summary", "Counted refusals before a token was accepted.";
        POLICY = 12, "policy", "The policies in force; F is their digest.";
        REVOKED = 13, "revoked", "A grant, token or persona was revoked; F is the digest of the line that says which.";
    }
}

crate::registry! {
    /// Field names: `spec/03-layers.md`.
    FieldIndex: u64 {
        ACCEPT = 0x01, "accept", "As in the CMesh message.";
        ACCEPT_ENCODING = 0x02, "accept-encoding", "As in the CMesh message.";
        ACCEPT_LANGUAGE = 0x03, "accept-language", "As in the CMesh message.";
        CONNECTION = 0x04, "connection", "As in the CMesh message.";
        HOST = 0x05, "host", "As in the CMesh message.";
        IF_MODIFIED_SINCE = 0x06, "if-modified-since", "As in the CMesh message.";
        IF_NONE_MATCH = 0x07, "if-none-match", "As in the CMesh message.";
        REFERRER = 0x08, "referrer", "As in the CMesh message.";
        REFERRER_POLICY = 0x09, "referrer-policy", "As in the CMesh message.";
        SEC_FETCH_DEST = 0x0a, "sec-fetch-dest", "As in the CMesh message.";
        SEC_FETCH_MODE = 0x0b, "sec-fetch-mode", "As in the CMesh message.";
        SEC_FETCH_USER = 0x0c, "sec-fetch-user", "As in the CMesh message.";
        USER_AGENT = 0x0d, "user-agent", "As in the CMesh message.";
        ACCEPT_RANGES = 0x0e, "accept-ranges", "As in the CMesh message.";
        CACHE_CONTROL = 0x0f, "cache-control", "As in the CMesh message.";
        CONTENT_ENCODING = 0x10, "content-encoding", "As in the CMesh message.";
        CONTENT_LENGTH = 0x11, "content-length", "As in the CMesh message.";
        CONTENT_SECURITY_POLICY = 0x12, "content-security-policy", "As in the CMesh message.";
        CONTENT_TYPE = 0x13, "content-type", "As in the CMesh message.";
        DATE = 0x14, "date", "As in the CMesh message.";
        ETAG = 0x15, "etag", "As in the CMesh message.";
        EXPIRES = 0x16, "expires", "As in the CMesh message.";
        LAST_MODIFIED = 0x17, "last-modified", "As in the CMesh message.";
        STRICT_TRANSPORT_SECURITY = 0x18, "strict-transport-security", "As in the CMesh message.";
        VARY = 0x19, "vary", "As in the CMesh message.";
        TRANSFERRED = 0x1a, "transferred", "As in the CMesh message.";
        MESSAGE_ID = 0x20, "message-id", "The request's id: a UUIDv7 (RFC 9562).";
        AUDIENCE = 0x21, "audience", "Root key of the node that the origin is made for.";
        TARGET = 0x22, "target", "The FQMN without its arguments, in normal form.";
        ARGS = 0x23, "args", "The FQMN's arguments: a JSON array, verbatim.";
        NOT_AFTER = 0x24, "not-after", "Time after which the request is not to be dispatched.";
        JOURNAL = 0x25, "journal", "Least journal mode wanted.";
        CONNECTION_KIND = 0x26, "connection-kind", "Admit: what kind of connection is bound.";
        EXPORTER_DIGEST = 0x27, "exporter-digest", "Admit: SHA-256 of the TLS exporter value.";
        TOKEN_DIGEST = 0x28, "token-digest", "Admit: SHA-256 of the token; zero where none was shown.";
        POLICY_DIGEST = 0x29, "policy-digest", "Admit: digest of the policies that decided.";
        POLICIES = 0x2a, "policies", "Admit: the scope pattern, and the policies that decided.";
        RESOLVED = 0x2b, "resolved", "Resolve: the FQMN that the name stands for, without arguments.";
        SUBJECT = 0x2c, "subject", "Dispatch: the bus subject.";
        DEADLINE = 0x2d, "deadline", "Dispatch: time by which the service must answer.";
        HEAD = 0x2e, "head", "Dispatch: the layer hash before this layer.";
        BUS_AUTH = 0x2f, "bus-auth", "Dispatch: how the bus is authenticated.";
        REMEDY = 0x30, "remedy", "Refusal: a word of the remedies.";
        DETAIL = 0x31, "detail", "Refusal: a sentence for a person.";
        RETRY_AFTER = 0x32, "retry-after", "Refusal: seconds to wait.";
        OUTCOME_UNKNOWN = 0x33, "outcome-unknown", "Refusal: whether the write had its effect is not known.";
        NO_EFFECT = 0x34, "no-effect", "Refusal: the write certainly had no effect.";
        PEER = 0x35, "peer", "Forward: root key of the next node.";
        PEER_SEAL = 0x36, "peer-seal", "Check: the next node's seal F.";
        PEER_RECEIPT = 0x37, "peer-receipt", "Check: the next node's R0.";
        STATE_VERSION = 0x38, "state-version", "State: version of the value.";
        IF_STATE_VERSION = 0x39, "if-state-version", "State: version that a write expects.";
        SEQUENCE = 0x3a, "sequence", "Events: position in a channel.";
        CODE_DIGEST = 0x3b, "code-digest", "Assembly: SHA-256 of the contract that ran.";
        FUEL = 0x3c, "fuel", "Assembly: fuel used.";
        TERM = 0x3d, "term", "Consensus: term of the proposal.";
        LOG_INDEX = 0x3e, "log-index", "Consensus: index of the proposal.";
        TRACE_PARENT = 0x3f, "trace-parent", "W3C trace context.";
    }
}

crate::registry! {
    /// Layer flags: `spec/03-layers.md`.
    LayerFlags: u16 {
        SIGNED = 0x0001, "signed", "A signature by the actor over the layer hash follows.";
        BODY = 0x0002, "body", "The layer has a body, perhaps an empty one.";
        BODY_UNREAD = 0x0004, "body-unread", "Layer 0 only: the node refused without reading the body.";
        COMPLETE = 0x0008, "complete", "Segment only: the stream ended here as the service meant it.";
        CUT = 0x0010, "cut", "Segment only: the stream was ended before its time.";
    }
}

crate::registry! {
    /// Frame types: `spec/02-frames.md`.
    FrameType: u64 {
        LAYER = 0x02, "layer", "One layer, up to its body.";
        BODY = 0x04, "body", "A piece of the body of the layer that is open.";
        END = 0x06, "end", "Closes a layer that has a body.";
        SEAL = 0x08, "seal", "The final seal; ends the message.";
        INTERIM = 0x0a, "interim", "An interim seal of a streamed answer.";
        CORE = 0x0c, "core", "A layer redacted to its core.";
        AUTH = 0x0e, "auth", "Shows a token and proves its key; state of the connection, no part of the message.";
        SETTINGS = 0x10, "settings", "First frame of a control stream.";
        GOAWAY = 0x12, "goaway", "The first request stream that will not be processed.";
        KEYS = 0x14, "keys", "The node's key list.";
        CHECKPOINT = 0x15, "checkpoint", "The log's newest checkpoint, with the proof that it continues the one that the client keeps.";
    }
}

crate::registry! {
    /// Journal modes: `spec/13-receipts.md`.
    JournalMode: u8 {
        NONE = 0, "none", "No journal: the receipt is a signature and no more.";
        ASYNC = 1, "async", "Journalled after the answer; may be lost.";
        WAL = 2, "wal", "Durable before the answer.";
    }
}

crate::registry! {
    /// Key uses: `spec/13-receipts.md`.
    KeyUse: u8 {
        TLS = 1, "tls", "The TLS certificate's key.";
        TOKEN = 2, "token", "Signs tokens.";
        LAYER = 3, "layer", "Actor of node layers; signs R0; named in seals.";
        LOG = 4, "log", "Signs checkpoints and nothing else.";
        WITNESS = 5, "witness", "Cosigns checkpoints of other nodes.";
    }
}

crate::registry! {
    /// Opcodes: `spec/07-processes.md`.
    Opcode: u16 {
        I = 0x0010, "0xI", "IAM: identity and access.";
        IW = 0x0011, "0xIW", "IAM, write form.";
        S = 0x0020, "0xS", "State.";
        SW = 0x0021, "0xSW", "State, write form.";
        E = 0x0030, "0xE", "Events: subscribe.";
        EW = 0x0031, "0xEW", "Events: publish.";
        A = 0x0040, "0xA", "Assembly: call a contract that changes nothing.";
        AW = 0x0041, "0xAW", "Assembly: deploy, or call a contract that changes state.";
        C = 0x0050, "0xC", "Consensus: status.";
        CW = 0x0051, "0xCW", "Consensus: propose.";
        R = 0x0060, "0xR", "Registrar: resolve a name and call what it names.";
        RW = 0x0061, "0xRW", "Registrar: register or move a name.";
        P = 0x0070, "0xP", "Proxy: forward to the named node.";
        PW = 0x0071, "0xPW", "Proxy, write form: forward a write.";
    }
}

crate::registry! {
    /// SEAL items: `spec/02-frames.md`.
    SealItemType: u64 {
        R0 = 0x00, "r0", "Receipt R0: the node's signed promise.";
        UNLOGGED = 0x02, "unlogged", "Empty; a refusal before a token was accepted, or a message of the handshake: no entry and no R0.";
        RECORDED = 0x04, "recorded", "Empty; the answer recorded for an earlier request with the same bytes.";
        KEYS = 0x06, "keys", "The root-signed key list; saved files only.";
        BODY_UNREAD = 0x08, "body-unread", "Empty; the node refused without reading the body of layer 0.";
        HEADS = 0x01, "heads", "The layer hashes, so that a verifier can name the first layer that differs; saved files only.";
        PROOF = 0x03, "proof", "Receipt R1 or R2, a C2SP tlog-proof.";
    }
}

crate::registry! {
    /// Settings: `spec/09-quic.md`.
    SettingId: u64 {
        LAYER_FRAME_MAX = 0x01, "layer-frame-max", "Largest LAYER payload that the sender takes, bytes.";
        BODY_MAX = 0x02, "body-max", "Largest body that the sender takes, bytes.";
        ID_WINDOW = 0x03, "id-window", "Seconds by which the time in a message id may differ from the node's clock.";
        JOURNAL_MODE = 0x04, "journal-mode", "The journal mode that the node uses where none is asked for.";
        LOG_SIZE = 0x05, "log-size", "Size of the last checkpoint that the client keeps of this node's log; 0 where it keeps none.";
    }
}

crate::registry! {
    /// Statuses: `spec/08-statuses.md`.
    Status: u16 {
        NONE = 0x0000, "none", "No statement: the layer neither answers nor refuses.";
        OK = 0x00c8, "ok", "Done.";
        CREATED = 0x00c9, "created", "Done, and something new exists.";
        ACCEPTED = 0x00ca, "accepted", "Taken; the effect comes later.";
        NOT_MODIFIED = 0x0130, "not-modified", "What the caller has is current.";
        BAD_REQUEST = 0x0190, "bad-request", "The origin breaks a rule.";
        TOKEN_INVALID = 0x0191, "token-invalid", "A token was shown and is bad, expired, revoked, not proved or (remedy resend-token) not known on this connection.";
        FORBIDDEN = 0x0193, "forbidden", "The token does not cover the target, or policies deny it.";
        NOT_FOUND = 0x0194, "not-found", "No such name, route or resource.";
        WRITE_FORM_REQUIRED = 0x0195, "write-form-required", "The target has an effect and the opcode is a read.";
        TOO_LATE = 0x0198, "too-late", "The origin's not-after has passed.";
        RUNNING = 0x0199, "running", "The same request is being executed, or it conflicts with another.";
        ERASED = 0x019a, "erased", "What is asked for was erased: the recorded answer of a write, or a value.";
        VERSION_CONFLICT = 0x019c, "version-conflict", "Compare-and-set met another version.";
        BODY_TOO_LARGE = 0x019d, "body-too-large", "The body is above the node's limit.";
        TARGET_TOO_LONG = 0x019e, "target-too-long", "The target or its subject is above its limit.";
        WRONG_AUDIENCE = 0x01a5, "wrong-audience", "The origin was made for another node.";
        ID_REUSED = 0x01a6, "id-reused", "The id belongs to other bytes.";
        TOO_MANY_REQUESTS = 0x01ad, "too-many-requests", "A quota is used up.";
        FIELDS_TOO_LARGE = 0x01af, "fields-too-large", "Fields above the node's limit.";
        ID_OUTSIDE_WINDOW = 0x01cc, "id-outside-window", "The time in the message id is too far from the node's clock.";
        INTERNAL_ERROR = 0x01f4, "internal-error", "The node failed.";
        NOT_IMPLEMENTED = 0x01f5, "not-implemented", "This node has no such part.";
        BAD_SERVICE_ANSWER = 0x01f6, "bad-service-answer", "The service's answer can't be used.";
        UNAVAILABLE = 0x01f7, "unavailable", "No service answers, or the node is full.";
        DEADLINE_EXCEEDED = 0x01f8, "deadline-exceeded", "The service did not answer in time.";
        STORAGE_FULL = 0x01fb, "storage-full", "The node can't record.";
        LOOP_DETECTED = 0x01fc, "loop-detected", "A name or a node came twice.";
        IDENTITY_REQUIRED = 0x01ff, "identity-required", "No session: start identity creation or synchronisation.";
    }
}

crate::registry! {
    /// Steps: `spec/07-processes.md`.
    Step: u16 {
        ORIGIN = 0x0000, "origin", "The caller's request; always layer 0 and only there.";
        ADMIT = 0x0001, "admit", "The node accepted, or refused, the caller on this connection.";
        RESOLVE = 0x0002, "resolve", "A name became a target.";
        DISPATCH = 0x0003, "dispatch", "The request was given to a backing service.";
        SERVE = 0x0004, "serve", "The service's answer.";
        ASSEMBLE = 0x0005, "assemble", "A contract was run.";
        COMMIT = 0x0006, "commit", "The effect of a write is durable.";
        PUBLISH = 0x0007, "publish", "An event was accepted by a channel.";
        FORWARD = 0x0008, "forward", "The request was given to another node.";
        CHECK = 0x0009, "check", "Another node's seal and receipt were checked.";
        SEGMENT = 0x000a, "segment", "A run of bytes of a streamed answer.";
        PROPOSE = 0x000b, "propose", "Consensus accepted a proposal.";
    }
}

crate::registry! {
    /// Unidirectional stream types: `spec/09-quic.md`.
    StreamType: u64 {
        CONTROL = 0x00, "control", "SETTINGS, KEYS, GOAWAY, CHECKPOINT; one in each direction.";
    }
}

/// Limits: `spec/15-limits.md`.
pub mod limits {
    /// Payload of LAYER; SETTINGS may lower it, in bytes.
    pub const LAYER_FRAME_MAX: u64 = 65_536;
    /// Payload of BODY; the stored form fills every BODY but the last to it, in bytes.
    pub const BODY_FRAME_MAX: u64 = 16_384;
    /// Payload of END, in bytes.
    pub const END_FRAME_MAX: u64 = 97;
    /// Payload of CORE, in bytes.
    pub const CORE_FRAME_MAX: u64 = 216;
    /// Payload of SEAL and INTERIM; holds `heads` of 2,048 layers and a proof, in bytes.
    pub const SEAL_FRAME_MAX: u64 = 131_072;
    /// Payload of AUTH: form, signature and the longest token, in bytes.
    pub const AUTH_FRAME_MAX: u64 = 4_161;
    /// Payload of SETTINGS, in bytes.
    pub const SETTINGS_FRAME_MAX: u64 = 1_024;
    /// Payload of GOAWAY, in bytes.
    pub const GOAWAY_FRAME_MAX: u64 = 8;
    /// Payload of KEYS, and of the SEAL item: 105 bytes and `keys-max` keys of 49 are 6,377, in bytes.
    pub const KEYS_FRAME_MAX: u64 = 6_400;
    /// Payload of CHECKPOINT, and of the SEAL item `proof`: a checkpoint, `log-path-max` lines of 45 bytes, and what stands before them, in bytes.
    pub const CHECKPOINT_FRAME_MAX: u64 = 20_480;
    /// Payload of an unknown frame of odd type, in bytes.
    pub const UNKNOWN_FRAME_MAX: u64 = 65_536;
    /// Unknown frames on one stream, in frames.
    pub const UNKNOWN_FRAMES_MAX: u64 = 16;
    /// Layers of a message, segments not counted, in layers.
    pub const LAYERS_MAX: u64 = 64;
    /// Segments of a message, in layers.
    pub const SEGMENTS_MAX: u64 = 1_048_576;
    /// Fields of a layer, public and private together, in fields.
    pub const FIELDS_MAX: u64 = 128;
    /// A field's name, in bytes.
    pub const FIELD_NAME_MAX: u64 = 128;
    /// A field's value, in bytes.
    pub const FIELD_VALUE_MAX: u64 = 16_384;
    /// Items of a SEAL, in items.
    pub const SEAL_ITEMS_MAX: u64 = 16;
    /// Layers of a message whose SEAL may carry `heads`, in layers.
    pub const HEADS_MAX: u64 = 2_048;
    /// A body, in both directions, where SETTINGS says nothing else, in bytes.
    pub const BODY_MAX: u64 = 16_777_216;
    /// Largest status, in status.
    pub const STATUS_MAX: u64 = 999;
    /// A token, in bytes.
    pub const TOKEN_MAX: u64 = 4_096;
    /// From `iat` to `exp`, in seconds.
    pub const TOKEN_LIFETIME_MAX: u64 = 900;
    /// The text of a revocation statement: about 300 bytes, and white space, in bytes.
    pub const REVOCATION_MAX: u64 = 1_024;
    /// Patterns of a token, reads and writes together, in patterns.
    pub const SCOPE_PATTERNS_MAX: u64 = 64;
    /// Policy files of a node together: 1,024 policies of 1 KiB, in bytes.
    pub const POLICY_BYTES_MAX: u64 = 1_048_576;
    /// Files of a policy set, in files.
    pub const POLICY_FILES_MAX: u64 = 256;
    /// Name of a policy file, its ending included, in bytes.
    pub const POLICY_FILE_NAME_MAX: u64 = 64;
    /// Policies of a set: each is looked at for a decision that is not kept, about 1 µs for a short one, in policies.
    pub const POLICIES_MAX: u64 = 1_024;
    /// Id of a policy, in bytes.
    pub const POLICY_ID_MAX: u64 = 64;
    /// Deciding policies that an admit layer names: 13,000 bytes, and a pattern, within `field-value-max`, in policies.
    pub const POLICIES_NAMED_MAX: u64 = 200;
    /// Decisions that a node keeps of the policies in force: about 10 MiB, in decisions.
    pub const POLICY_DECISIONS_MAX: u64 = 65_536;
    /// Between two looks at the policy folder: a change that two looks see alike is in force within a second, in milliseconds.
    pub const POLICY_INTERVAL_MS: u64 = 500;
    /// Groups of a subject, in groups.
    pub const GROUPS_MAX: u64 = 64;
    /// Attributes of a subject, in attributes.
    pub const ATTRIBUTES_MAX: u64 = 64;
    /// A group's name; an attribute's name; its value, in bytes.
    pub const ATTRIBUTE_MAX: u64 = 256;
    /// An FQMN without its arguments, in bytes.
    pub const TARGET_MAX: u64 = 1_024;
    /// Segments of an FQMN, opcodes included, in segments.
    pub const TARGET_SEGMENTS_MAX: u64 = 32;
    /// Opcodes of an FQMN, the first included, in opcodes.
    pub const TARGET_DEPTH_MAX: u64 = 3;
    /// Arguments, in bytes.
    pub const ARGS_MAX: u64 = 16_384;
    /// Nested arrays and objects in arguments, the outer array included, in levels.
    pub const ARGS_DEPTH_MAX: u64 = 32;
    /// A NATS subject, in bytes.
    pub const SUBJECT_MAX: u64 = 512;
    /// Resolve layers of a request, in steps.
    pub const RESOLVE_MAX: u64 = 3;
    /// Forward layers of a request, in hops.
    pub const HOPS_MAX: u64 = 3;
    /// Default by which the time in a message id may differ from the node's clock, in seconds.
    pub const ID_WINDOW: u64 = 3_600;
    /// Default by which not-after may lie ahead of the node's clock, in seconds.
    pub const NOT_AFTER_MAX: u64 = 3_600;
    /// Between a node layer's time and its entry's; between a node's clock and the time of a service's layer, or of its ask for keys, in seconds.
    pub const CLOCK_SKEW_MAX: u64 = 300;
    /// Keys of a key list: a layer key for each month of ten years, and 8 others, in keys.
    pub const KEYS_MAX: u64 = 128;
    /// For which a replaced key of use `tls` or `layer` stays valid: `header-timeout` and `body-timeout` of a request that came before, and time to take the list over, in seconds.
    pub const KEYS_OVERLAP: u64 = 120;
    /// For which a client waits for a newer key list before it calls a key foreign: as long as for a handshake, in seconds.
    pub const KEYS_WAIT: u64 = 10;
    /// A log's origin line, in bytes.
    pub const LOG_ORIGIN_MAX: u64 = 255;
    /// A checkpoint: 99 signatures with names of 20 bytes, and its three lines, in bytes.
    pub const CHECKPOINT_MAX: u64 = 16_384;
    /// Inclusion and consistency proofs of a log, in hashes.
    pub const LOG_PATH_MAX: u64 = 63;
    /// Path from an entry to the root of its commit, in hashes.
    pub const COMMIT_PATH_MAX: u64 = 32;
    /// A stored file that a tool reads, in bytes.
    pub const STORED_MAX: u64 = 1_073_741_824;
    /// What a bus envelope has beyond one body of `body-max`: 16 of the largest LAYER frames, in bytes.
    pub const ENVELOPE_OVERHEAD_MAX: u64 = 1_048_576;
    /// Request streams that a node lets a client have open at a time, in streams.
    pub const REQUEST_STREAMS: u64 = 256;
    /// A connection without packets; what it keeps is then given back, in seconds.
    pub const IDLE_TIMEOUT: u64 = 30;
    /// From the opening of a request stream to its origin's LAYER frame; a handshake, too, and the type of a unidirectional stream, in seconds.
    pub const HEADER_TIMEOUT: u64 = 10;
    /// From the origin's LAYER frame to its END and FIN; a `body-max` at 273 KiB/s, in seconds.
    pub const BODY_TIMEOUT: u64 = 60;
    /// From the origin's LAYER frame until `body-rate-min` is asked for: a slow start and one lost round of retransmission, in seconds.
    pub const BODY_RATE_GRACE: u64 = 5;
    /// Least mean rate of a body after its grace; a full BODY frame in 4 seconds, so that a stream that drips is not kept for `body-timeout`, in bytes/second.
    pub const BODY_RATE_MIN: u64 = 4_096;
    /// For a client to take an answer, for each write of a streamed one; as `body-timeout` the other way, in seconds.
    pub const ANSWER_TIMEOUT: u64 = 60;
    /// Streams of one connection that ended without an answer taken, beyond those with one; below one round of `request-streams`, in streams.
    pub const STREAM_RESETS_MAX: u64 = 100;
    /// Of a node; idle at 40 KiB each they are 640 MiB, in connections.
    pub const CONNECTIONS_MAX: u64 = 16_384;
    /// From one IPv4 address or IPv6 /64; 64 addresses fill a node, in connections.
    pub const CONNECTIONS_PER_ADDRESS_MAX: u64 = 256;
    /// In progress with addresses not validated, from which on Retry is asked for; a quarter of `connections-per-address-max`, so that forged addresses take nobody's share, in handshakes.
    pub const HANDSHAKES_RETRY: u64 = 64;
    /// In progress in all; 1,024 signatures are about 50 ms of one core, in handshakes.
    pub const HANDSHAKES_MAX: u64 = 1_024;
    /// Requests of a node that are dispatched and not yet answered; 16 full connections, in requests.
    pub const IN_FLIGHT_MAX: u64 = 4_096;
    /// Request bodies that a node holds; 16 of the largest, in bytes.
    pub const BODY_MEMORY_MAX: u64 = 268_435_456;
    /// Bodies of answers that a node makes ready or has under way; 16 of the largest, in bytes.
    pub const ANSWER_MEMORY_MAX: u64 = 268_435_456;
    /// Of requests of one connection whose origin's LAYER is not whole; 4 of the largest, and 1 KiB on each of 256 streams, in bytes.
    pub const HEAD_MEMORY_MAX: u64 = 262_144;
    /// QUIC receive window of a stream: 16 BODY frames, 2.6 MB/s at a round trip of 100 ms, in bytes.
    pub const STREAM_WINDOW: u64 = 262_144;
    /// QUIC receive and send window of a connection that proved a token: 4 streams at full speed, 10 MB/s at 100 ms, in bytes.
    pub const CONNECTION_WINDOW: u64 = 1_048_576;
    /// The same before a token was accepted: AUTH and LAYER at their largest fit; all `connections-max` filled are 2 GiB each way, in bytes.
    pub const STRANGER_WINDOW: u64 = 131_072;
    /// Request streams that a client may have open at a time before a token was accepted: QUIC keeps room for each that is allowed, 6 KiB of a connection for 128, in streams.
    pub const STRANGER_STREAMS: u64 = 16;
    /// UDP buffers asked of the system in each direction: 4 connection windows, 30 ms at 1 Gbit/s, in bytes.
    pub const SOCKET_BUFFER: u64 = 4_194_304;
    /// Default time for a service to answer, in seconds.
    pub const SERVICE_DEADLINE: u64 = 30;
    /// Bad tokens or proofs on one connection before it is closed, in tokens.
    pub const BAD_TOKENS_MAX: u64 = 8;
    /// Tokens that a node keeps for one connection; an older one is then unknown (401, resend-token), in tokens.
    pub const KNOWN_TOKENS_MAX: u64 = 16;
    /// Body of a segment that a node makes: four full BODY frames, so that what is not sealed yet stays small, in bytes.
    pub const SEGMENT_BYTES_MAX: u64 = 65_536;
    /// Writes that a node remembers in all: 145 a second over two id windows, about 300 MiB, in writes.
    pub const WRITES_MAX: u64 = 1_048_576;
    /// Writes that a node remembers of one caller: a quarter of all, in writes.
    pub const CALLER_WRITES_MAX: u64 = 262_144;
    /// Keys and values that a node's State keeps in memory, in bytes.
    pub const STATE_BYTES_MAX: u64 = 268_435_456;
    /// For which a node that stops waits for requests in progress: as long as a service may take, in seconds.
    pub const DRAIN_TIMEOUT: u64 = 30;
    /// Default for what an instance of a layered service has in progress; it refuses the next (503), in requests.
    pub const SERVICE_IN_FLIGHT: u64 = 256;
    /// Requests that an instance of a layered service remembers until their deadline: 69,905 a second over `service-deadline`, about 70 MiB, in hashes.
    pub const SERVICE_HEADS_MAX: u64 = 2_097_152;
    /// Requests of an instance that wait for keys: what comes within 10 ms at 100,000 a second, in requests.
    pub const SERVICE_WAITING_MAX: u64 = 1_024;
    /// Of those requests: four of the largest bodies; nobody has vouched for them yet, in bytes.
    pub const SERVICE_WAITING_BYTES: u64 = 67_108_864;
    /// Keys of routes that an instance keeps; the one that was got first is forgotten first, in keys.
    pub const SERVICE_KEYS_MAX: u64 = 1_024;
    /// Asks for keys by one instance to one node: a forger can name ids that nobody has, in asks/second.
    pub const SERVICE_ASKS_MAX: u64 = 10;
    /// Of a message of the audit stream: 34,816 bytes, far below the megabyte that a nats-server takes, in entries.
    pub const AUDIT_MESSAGE_ENTRIES: u64 = 512;
    /// At least between two looks of `0xE:audit` at what is new: it costs five seals a second at most, in milliseconds.
    pub const AUDIT_INTERVAL_MS: u64 = 200;
    /// Bad tokens or proofs from one IPv4 address or IPv6 /64 at once: at 120 us each 30 ms, in tokens.
    pub const BAD_TOKENS_BURST: u64 = 256;
    /// By which `bad-tokens-burst` is refilled: two connections' worth, a thousandth of a core, in tokens/second.
    pub const BAD_TOKENS_RATE: u64 = 16;
    /// A message of the handshake: one outside token of the largest, or some of the usual 2 KiB, in bytes.
    pub const SESSION_MESSAGE_MAX: u64 = 32_768;
    /// What a node has a client keep between two messages: a grant of `scope-patterns-max` patterns of 64 bytes, twice, in bytes.
    pub const SESSION_COOKIE_MAX: u64 = 8_192;
    /// From call or confirm to the message that follows: a person reads and decides, in seconds.
    pub const SESSION_COOKIE_LIFETIME: u64 = 600;
    /// What a call asks for, in names.
    pub const SESSION_ASKS_MAX: u64 = 16;
    /// Tokens of outside issuers in an answer, in tokens.
    pub const OUTSIDE_TOKENS_MAX: u64 = 8;
    /// Of the handshake, from one IPv4 address or IPv6 /64 at once: 42 handshakes, in requests.
    pub const SESSION_BURST: u64 = 128;
    /// By which `session-burst` is refilled: at 150 us each, half a percent of a core, in requests/second.
    pub const SESSION_RATE: u64 = 32;
    /// From one address at once, in consents.
    pub const GRANT_BURST: u64 = 64;
    /// After which one more consent is taken from an address: it fills `grants-max` in 7 days, in seconds.
    pub const GRANT_INTERVAL: u64 = 10;
    /// From consent to the end of a grant: 90 days, in seconds.
    pub const GRANT_LIFETIME_MAX: u64 = 7_776_000;
    /// That a node keeps; about 1 KiB each, in grants.
    pub const GRANTS_MAX: u64 = 65_536;
    /// Whose commitment a node keeps; about 128 bytes each, in personas.
    pub const PERSONAS_MAX: u64 = 262_144;
    /// Whose handshakes a node counts at a time; one that it can't count is refused, in addresses.
    pub const SESSION_ADDRESSES_MAX: u64 = 65_536;
    /// From the durable entry to the end of the last stream, in milliseconds.
    pub const REVOCATION_TIME_MAX: u64 = 1_000;
    /// An outside issuer's token: a hundred group names of a hundred bytes, and what signs them, in bytes.
    pub const OUTSIDE_TOKEN_MAX: u64 = 16_384;
    /// By which an outside issuer's clock and a node's may differ, in seconds.
    pub const OUTSIDE_LEEWAY: u64 = 60;
    /// Default for the age of an outside token, from `iat`: as long as most issuers let one live, in seconds.
    pub const OUTSIDE_AGE: u64 = 3_600;
    /// A key set of an outside issuer: `jwks-keys-max` keys with their certificates, 4 KiB each, in bytes.
    pub const JWKS_MAX: u64 = 262_144;
    /// Keys of such a set, in keys.
    pub const JWKS_KEYS_MAX: u64 = 64;
    /// Between two looks at a key set that has a URL, in seconds.
    pub const JWKS_INTERVAL: u64 = 3_600;
    /// At least between two of them, where a token names an unknown key, or one failed, in seconds.
    pub const JWKS_INTERVAL_MIN: u64 = 60;
    /// For one of them, from the connection to the last byte, in seconds.
    pub const JWKS_TIMEOUT: u64 = 10;
}

/// Constants of the bindings: `spec/09-quic.md`, `spec/11-nats.md`, `spec/12-stored.md`.
pub mod binding {
    /// The version in every layer core and in the stored form.
    pub const VERSION: u16 = 0;
    /// TLS application protocol name (RFC 7301).
    pub const ALPN: &str = "cmtp/0";
    /// TLS exporter label for AUTH, empty context, 32 bytes (RFC 8446 section 7.5).
    pub const EXPORTER_LABEL_AUTH: &str = "EXPORTER-cmtp/0 auth";
    /// TLS exporter label of the session handshake, empty context, 32 bytes.
    pub const EXPORTER_LABEL_SESSION: &str = "EXPORTER-cmtp/0 session";
    /// First bytes of every signed payload, before the use.
    pub const SIGNATURE_PREFIX: &str = "cmtp/0 ";
    /// First eight bytes of a stored file.
    pub const STORED_MAGIC: [u8; 8] = [0x89, 0x43, 0x4d, 0x54, 0x50, 0x0d, 0x0a, 0x1a];
    /// `typ` of a token's header.
    pub const TOKEN_TYPE: &str = "cmtp+jwt";
    /// `alg` of a token's header (RFC 8037).
    pub const TOKEN_ALGORITHM: &str = "EdDSA";
    /// `salt` of HKDF where a persona is derived from a root (RFC 5869).
    pub const IDENTITY_SALT: &str = "cmtp/0 identity";
    /// First bytes of `info` there, before the persona's number: its seed.
    pub const PERSONA_INFO: &str = "persona";
    /// First bytes of `info` there, before the persona's number: the seed of its recovery key.
    pub const RECOVERY_INFO: &str = "recovery";
    /// First bytes of every NATS subject that an FQMN maps to.
    pub const SUBJECT_PREFIX: &str = "cmtp.";
    /// Scheme of the URL form.
    pub const URL_SCHEME: &str = "cmtp";
    /// UDP port where a URL names none.
    pub const DEFAULT_PORT: u16 = 4433;
    /// First line of the SEAL item `proof`, before a line feed.
    pub const TLOG_PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
    /// First bytes of the JetStream subject of the audit stream, before the multibase name of the node's root key.
    pub const AUDIT_SUBJECT_PREFIX: &str = "cmtp.audit.";
    /// First bytes of the name of that stream, before the same name.
    pub const AUDIT_STREAM_PREFIX: &str = "cmtp-audit-";
    /// Header of a message of the audit stream: the index of its first entry, decimal.
    pub const AUDIT_INDEX_HEADER: &str = "cmtp-index";
    /// First eight bytes of a journal file.
    pub const JOURNAL_MAGIC: [u8; 8] = [0x43, 0x4d, 0x54, 0x50, 0x4a, 0x0d, 0x0a, 0x1a];
    /// First eight bytes of a commit in a journal file.
    pub const COMMIT_MAGIC: [u8; 8] = [0xc0, 0x43, 0x4d, 0x54, 0x50, 0x43, 0x54, 0x0a];
    /// First bytes of the NATS subjects of a node itself, before the multibase name of its root key.
    pub const BUS_SUBJECT_PREFIX: &str = "cmtp.bus.";
    /// Last bytes of the subject where a node is asked for keys.
    pub const BUS_KEYS_SUFFIX: &str = ".keys";
    /// Last bytes of the subject where a node cancels requests.
    pub const BUS_CANCEL_SUFFIX: &str = ".cancel";
    /// What the `jti` of a token begins with that the operator granted by hand.
    pub const OPERATOR_TOKEN: &str = "op.";
    /// What every caller may ask of the transparency log, whatever its scope.
    pub const LOG_PATTERN: &str = "0xI:log:*";
    /// `info` of HPKE where a node seals keys (RFC 9180).
    pub const BUS_KEYS_INFO: &str = "cmtp/0 bus keys";
    /// Name in the metadata of a NATS micro service: `layered` where it is one.
    pub const SERVICE_KIND: &str = "cmtp";
    /// Value of that name.
    pub const SERVICE_LAYERED: &str = "layered";
    /// Name in the metadata of a layered service: the DID of its actor.
    pub const SERVICE_ACTOR: &str = "cmtp-actor";
    /// Name in the metadata of a layered service: names of the schemes that it takes, with a space between two.
    pub const SERVICE_SCHEMES: &str = "cmtp-schemes";
    /// What is admitted by chapter 22, whatever the scope.
    pub const SESSION_PATTERN: &str = "0xI:session:*";
    /// Target of a hello.
    pub const SESSION_HELLO: &str = "0xI:session:hello";
    /// Target of an answer.
    pub const SESSION_ANSWER: &str = "0xI:session:answer";
    /// Target of a consent.
    pub const SESSION_CONSENT: &str = "0xIW:session:consent";
    /// Target of a renewal.
    pub const SESSION_RENEW: &str = "0xIW:session:renew";
    /// Target of a recovery key's statement.
    pub const SESSION_REVOKE: &str = "0xIW:session:revoke";
    /// Target that ends grants and tokens.
    pub const SESSION_HANGUP: &str = "0xIW:session:hangup";
    /// Target that lists the caller's grants.
    pub const SESSION_LIST: &str = "0xI:session:list";
    /// Literal field with the signature of a handshake message, 64 bytes.
    pub const SESSION_SIGNATURE: &str = "session-signature";
    /// Literal field with what the node has to get back.
    pub const SESSION_COOKIE: &str = "session-cookie";
    /// Literal field in which the answer to a consent says what the grant is.
    pub const SESSION_GRANT: &str = "session-grant";
}

/// First eight bytes of every hash pre-image: `spec/04-hashing.md`.
pub mod tags {
    /// Pre-image of all public fields of a layer.
    pub const PUBLIC_LEAF: [u8; 8] = *b"cmtp0/pl";
    /// Pre-image of one private field.
    pub const PRIVATE_LEAF: [u8; 8] = *b"cmtp0/fl";
    /// Pre-image of the leaves of a layer.
    pub const FIELDS_ROOT: [u8; 8] = *b"cmtp0/rt";
    /// Pre-image of a body.
    pub const BODY: [u8; 8] = *b"cmtp0/bd";
    /// Pre-image of a layer core.
    pub const LAYER: [u8; 8] = *b"cmtp0/ly";
    /// Pre-image of the final seal.
    pub const FINAL_SEAL: [u8; 8] = *b"cmtp0/fs";
    /// Pre-image of an interim seal.
    pub const INTERIM_SEAL: [u8; 8] = *b"cmtp0/is";
    /// Pre-image of a recovery key, as a persona commits to it.
    pub const RECOVERY_KEY: [u8; 8] = *b"cmtp0/rk";
    /// Pre-image of a message of the session handshake.
    pub const TRANSCRIPT: [u8; 8] = *b"cmtp0/th";
    /// Pre-image of a persona's key, as an outside token's `nonce` has it.
    pub const OUTSIDE_NONCE: [u8; 8] = *b"cmtp0/on";
}

/// Uses of signatures: `spec/05-signatures.md`.
pub mod uses {
    /// Payload: the layer hash; signer: the layer's actor.
    pub const LAYER: &str = "layer";
    /// Payload: exporter value, node root key, token digest; signer: the token's key.
    pub const AUTH: &str = "auth";
    /// Payload: the key list without its signature; signer: the node's root key.
    pub const KEYS: &str = "keys";
    /// Payload: the R0 statement; signer: the sealing key.
    pub const R0: &str = "r0";
    /// Payload: what the tag of a bus envelope is over; signer: the envelope's sender.
    pub const BUS: &str = "bus";
    /// Payload: session exporter value, node root key, persona, transcript hash; signer: a token key of the node.
    pub const SESSION_CALL: &str = "session-call";
    /// The same payload; signer: the persona.
    pub const SESSION_ANSWER: &str = "session-answer";
    /// The same payload; signer: a token key of the node.
    pub const SESSION_CONFIRM: &str = "session-confirm";
    /// The same payload; signer: the persona.
    pub const SESSION_CONSENT: &str = "session-consent";
    /// The same payload; signer: the persona.
    pub const SESSION_RENEW: &str = "session-renew";
    /// Payload: persona, not-before; signer: the persona's recovery key.
    pub const REVOKE: &str = "revoke";
}

/// Words of the field `remedy`: `spec/08-statuses.md`.
pub mod remedies {
    use super::Remedy;

    /// The request is at fault; sending it again changes nothing.
    pub const FIX_REQUEST: Remedy = Remedy("fix-request");
    /// Make or restore an identity and open a session.
    pub const CREATE_IDENTITY: Remedy = Remedy("create-identity");
    /// Get a new token, then send a new request.
    pub const RENEW_TOKEN: Remedy = Remedy("renew-token");
    /// Send AUTH with the whole token, then the same request, once.
    pub const RESEND_TOKEN: Remedy = Remedy("resend-token");
    /// Ask the node's operator for a wider grant, or for policies that permit it.
    pub const ASK_ACCESS: Remedy = Remedy("ask-access");
    /// Call the write form of the opcode.
    pub const USE_WRITE_FORM: Remedy = Remedy("use-write-form");
    /// Make the origin for this node, or call the node that it names.
    pub const USE_AUDIENCE: Remedy = Remedy("use-audience");
    /// Check the clock, then send a new request with a new id.
    pub const NEW_ID: Remedy = Remedy("new-id");
    /// Send the same bytes again after a while.
    pub const WAIT: Remedy = Remedy("wait");
    /// Send fewer or smaller parts.
    pub const SEND_LESS: Remedy = Remedy("send-less");
    /// Whether there was an effect is not known; look before a new request.
    pub const LOOK_BEFORE_RETRY: Remedy = Remedy("look-before-retry");
    /// The node or its service is at fault.
    pub const ASK_OPERATOR: Remedy = Remedy("ask-operator");
}

impl Status {
    /// Whether and how a request that got this status may be sent again.
    pub const fn retry(self) -> Retry {
        match self {
            Self::INTERNAL_ERROR | Self::BAD_SERVICE_ANSWER | Self::DEADLINE_EXCEEDED => {
                Retry::Same
            }
            Self::RUNNING | Self::TOO_MANY_REQUESTS | Self::UNAVAILABLE | Self::STORAGE_FULL => {
                Retry::Later
            }
            Self::TOKEN_INVALID
            | Self::TOO_LATE
            | Self::VERSION_CONFLICT
            | Self::ID_OUTSIDE_WINDOW
            | Self::IDENTITY_REQUIRED => Retry::New,
            _ => Retry::Never,
        }
    }

    /// What a program does next where the answer carries no `remedy` of its own.
    pub const fn remedy(self) -> Option<Remedy> {
        match self {
            Self::BAD_REQUEST => Some(remedies::FIX_REQUEST),
            Self::TOKEN_INVALID => Some(remedies::RENEW_TOKEN),
            Self::FORBIDDEN => Some(remedies::ASK_ACCESS),
            Self::NOT_FOUND => Some(remedies::FIX_REQUEST),
            Self::WRITE_FORM_REQUIRED => Some(remedies::USE_WRITE_FORM),
            Self::TOO_LATE => Some(remedies::NEW_ID),
            Self::RUNNING => Some(remedies::WAIT),
            Self::ERASED => Some(remedies::FIX_REQUEST),
            Self::VERSION_CONFLICT => Some(remedies::FIX_REQUEST),
            Self::BODY_TOO_LARGE => Some(remedies::SEND_LESS),
            Self::TARGET_TOO_LONG => Some(remedies::SEND_LESS),
            Self::WRONG_AUDIENCE => Some(remedies::USE_AUDIENCE),
            Self::ID_REUSED => Some(remedies::NEW_ID),
            Self::TOO_MANY_REQUESTS => Some(remedies::WAIT),
            Self::FIELDS_TOO_LARGE => Some(remedies::SEND_LESS),
            Self::ID_OUTSIDE_WINDOW => Some(remedies::NEW_ID),
            Self::INTERNAL_ERROR => Some(remedies::ASK_OPERATOR),
            Self::NOT_IMPLEMENTED => Some(remedies::ASK_OPERATOR),
            Self::BAD_SERVICE_ANSWER => Some(remedies::ASK_OPERATOR),
            Self::UNAVAILABLE => Some(remedies::WAIT),
            Self::DEADLINE_EXCEEDED => Some(remedies::LOOK_BEFORE_RETRY),
            Self::STORAGE_FULL => Some(remedies::WAIT),
            Self::LOOP_DETECTED => Some(remedies::FIX_REQUEST),
            Self::IDENTITY_REQUIRED => Some(remedies::CREATE_IDENTITY),
            _ => None,
        }
    }
}

/// How an answer comes about.
const WORK: Process = Process::Alt(&[
    Process::Seq(&[Process::Step(Step::SERVE), Process::Star(&Process::Step(Step::SEGMENT))]),
    Process::Seq(&[
        Process::Step(Step::DISPATCH),
        Process::Step(Step::SERVE),
        Process::Star(&Process::Step(Step::SEGMENT)),
    ]),
    Process::Step(Step::ASSEMBLE),
]);

/// A request without effect.
const READ: Process = Process::Seq(&[
    Process::Step(Step::ORIGIN),
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    WORK,
]);

/// A request with an effect.
const WRITE: Process = Process::Seq(&[
    Process::Signed(Step::ORIGIN),
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    WORK,
    Process::Step(Step::COMMIT),
]);

/// An event given to a channel.
const EVENT: Process = Process::Seq(&[
    Process::Signed(Step::ORIGIN),
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    Process::Alt(&[Process::Step(Step::PUBLISH), WORK]),
    Process::Step(Step::COMMIT),
]);

/// A write that consensus orders.
const AGREED: Process = Process::Seq(&[
    Process::Signed(Step::ORIGIN),
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    Process::Step(Step::PROPOSE),
    Process::Step(Step::COMMIT),
]);

/// What the last node of a forwarded request adds.
const HOP3: Process = Process::Seq(&[
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    WORK,
    Process::Opt(&Process::Step(Step::COMMIT)),
]);

/// What the second node adds.
const HOP2: Process = Process::Seq(&[
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    Process::Alt(&[
        Process::Seq(&[WORK, Process::Opt(&Process::Step(Step::COMMIT))]),
        Process::Seq(&[
            Process::Step(Step::FORWARD),
            Process::Stop(&HOP3),
            Process::Step(Step::CHECK),
        ]),
    ]),
]);

/// What the first node after the caller's adds.
const HOP1: Process = Process::Seq(&[
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    Process::Alt(&[
        Process::Seq(&[WORK, Process::Opt(&Process::Step(Step::COMMIT))]),
        Process::Seq(&[
            Process::Step(Step::FORWARD),
            Process::Stop(&HOP2),
            Process::Step(Step::CHECK),
        ]),
    ]),
]);

/// A request forwarded over at most three hops.
const RELAY: Process = Process::Seq(&[
    Process::Signed(Step::ORIGIN),
    Process::Step(Step::ADMIT),
    Process::Star(&Process::Step(Step::RESOLVE)),
    Process::Step(Step::FORWARD),
    Process::Stop(&HOP1),
    Process::Step(Step::CHECK),
]);

impl Opcode {
    /// The steps that a message with this opcode goes through.
    pub const fn process(self) -> Option<&'static Process> {
        match self {
            Self::I => Some(&READ),
            Self::IW => Some(&WRITE),
            Self::S => Some(&READ),
            Self::SW => Some(&WRITE),
            Self::E => Some(&READ),
            Self::EW => Some(&EVENT),
            Self::A => Some(&READ),
            Self::AW => Some(&WRITE),
            Self::C => Some(&READ),
            Self::CW => Some(&AGREED),
            Self::R => Some(&READ),
            Self::RW => Some(&WRITE),
            Self::P => Some(&RELAY),
            Self::PW => Some(&RELAY),
            _ => None,
        }
    }

    /// What policies call a request with this opcode: `spec/23-policies.md`.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::I | Self::S | Self::A | Self::C | Self::R | Self::P => Some("read"),
            Self::IW | Self::SW | Self::CW | Self::PW => Some("write"),
            Self::E => Some("subscribe"),
            Self::EW => Some("publish"),
            Self::AW => Some("deploy"),
            Self::RW => Some("register"),
            _ => None,
        }
    }
}

/// The static field table: `spec/03-layers.md`.
pub const FIELDS: &[Field] = &[
    Field {
        index: FieldIndex::ACCEPT,
        name: "accept",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::ACCEPT_ENCODING,
        name: "accept-encoding",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::ACCEPT_LANGUAGE,
        name: "accept-language",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::CONNECTION,
        name: "connection",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::HOST,
        name: "host",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::IF_MODIFIED_SINCE,
        name: "if-modified-since",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::IF_NONE_MATCH,
        name: "if-none-match",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::REFERRER,
        name: "referrer",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::REFERRER_POLICY,
        name: "referrer-policy",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::SEC_FETCH_DEST,
        name: "sec-fetch-dest",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::SEC_FETCH_MODE,
        name: "sec-fetch-mode",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::SEC_FETCH_USER,
        name: "sec-fetch-user",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::USER_AGENT,
        name: "user-agent",
        kind: FieldKind::Bytes,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::ACCEPT_RANGES,
        name: "accept-ranges",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CACHE_CONTROL,
        name: "cache-control",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CONTENT_ENCODING,
        name: "content-encoding",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CONTENT_LENGTH,
        name: "content-length",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CONTENT_SECURITY_POLICY,
        name: "content-security-policy",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CONTENT_TYPE,
        name: "content-type",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::DATE,
        name: "date",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::ETAG,
        name: "etag",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::EXPIRES,
        name: "expires",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::LAST_MODIFIED,
        name: "last-modified",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::STRICT_TRANSPORT_SECURITY,
        name: "strict-transport-security",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::VARY,
        name: "vary",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::TRANSFERRED,
        name: "transferred",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::MESSAGE_ID,
        name: "message-id",
        kind: FieldKind::Id,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::AUDIENCE,
        name: "audience",
        kind: FieldKind::Key,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::TARGET,
        name: "target",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::ARGS,
        name: "args",
        kind: FieldKind::Json,
        class: FieldClass::Private,
    },
    Field {
        index: FieldIndex::NOT_AFTER,
        name: "not-after",
        kind: FieldKind::Time,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::JOURNAL,
        name: "journal",
        kind: FieldKind::Mode,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CONNECTION_KIND,
        name: "connection-kind",
        kind: FieldKind::Kind,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::EXPORTER_DIGEST,
        name: "exporter-digest",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::TOKEN_DIGEST,
        name: "token-digest",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::POLICY_DIGEST,
        name: "policy-digest",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::POLICIES,
        name: "policies",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::RESOLVED,
        name: "resolved",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::SUBJECT,
        name: "subject",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::DEADLINE,
        name: "deadline",
        kind: FieldKind::Time,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::HEAD,
        name: "head",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::BUS_AUTH,
        name: "bus-auth",
        kind: FieldKind::Scheme,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::REMEDY,
        name: "remedy",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::DETAIL,
        name: "detail",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::RETRY_AFTER,
        name: "retry-after",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::OUTCOME_UNKNOWN,
        name: "outcome-unknown",
        kind: FieldKind::Flag,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::NO_EFFECT,
        name: "no-effect",
        kind: FieldKind::Flag,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::PEER,
        name: "peer",
        kind: FieldKind::Key,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::PEER_SEAL,
        name: "peer-seal",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::PEER_RECEIPT,
        name: "peer-receipt",
        kind: FieldKind::Bytes,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::STATE_VERSION,
        name: "state-version",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::IF_STATE_VERSION,
        name: "if-state-version",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::SEQUENCE,
        name: "sequence",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::CODE_DIGEST,
        name: "code-digest",
        kind: FieldKind::Digest,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::FUEL,
        name: "fuel",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::TERM,
        name: "term",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::LOG_INDEX,
        name: "log-index",
        kind: FieldKind::Number,
        class: FieldClass::Public,
    },
    Field {
        index: FieldIndex::TRACE_PARENT,
        name: "trace-parent",
        kind: FieldKind::Text,
        class: FieldClass::Public,
    },
];
