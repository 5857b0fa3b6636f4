//! What a request has beside its body: as much as a CMTP request says of itself.

/// Twelve headers of a usual kind and length; names are valid for HTTP and as gRPC metadata.
pub(crate) const HEADERS: [(&str, &str); 12] = [
    ("accept", "application/octet-stream"),
    ("accept-language", "en-GB,en;q=0.8"),
    ("authorization", "Bearer 4f1c0a5e9b7d42368a1e5c7f90b3d2e64f1c0a5e9b7d42368a1e5c7f90b3d2e6"),
    ("cache-control", "no-store"),
    ("idempotency-key", "0192f3c4-5a6b-7c8d-9e0f-a1b2c3d4e5f6"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=00f067aa0ba902b7"),
    ("x-audience", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"),
    ("x-client", "bench/0.1"),
    ("x-not-after", "1767225600000000"),
    ("x-request-id", "0192f3c4-5a6b-7c8d-9e0f-a1b2c3d4e5f6"),
    ("x-tenant", "acme"),
];
