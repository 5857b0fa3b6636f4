//! What a node allows its peers: `cmtp-spec/spec/15-limits.md`. Set in the configuration file under `[limits]`.

use std::time::Duration;

use cmtp_spec::limits;
use serde::{Deserialize, Serialize};

/// Makes [`Limits`], its defaults and its form in the file from one row each: field, how its value is made of the
/// file's number, key, least and greatest number in the file.
macro_rules! limits {
    ($($(#[$doc:meta])+ $field:ident: $type:ty = $make:path, $key:literal, $least:literal..=$most:expr;)+) => {
        /// What peers may use of a node. The registry's values are the defaults, and the most that each can be set to.
        ///
        /// ```
        /// let config = cmtp_server::Config::from_toml("[limits]\nheader-timeout-ms = 2000")?;
        /// assert_eq!(config.limits.header_timeout.as_secs(), 2);
        /// assert!(cmtp_server::Config::from_toml("[limits]\nconnections-max = 1000000").is_err());
        /// # Ok::<(), cmtp_server::ConfigError>(())
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "File", into = "File")]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$doc])+ pub $field: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $make($most),)+ }
            }
        }

        #[derive(Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            $(#[serde(rename = $key)] $field: Option<u64>,)+
        }

        impl From<Limits> for File {
            fn from(limits: Limits) -> Self {
                Self { $($field: Some(limits.$field.number()),)+ }
            }
        }

        impl TryFrom<File> for Limits {
            type Error = LimitError;

            fn try_from(file: File) -> Result<Self, LimitError> {
                let mut limits = Self::default();
                $(if let Some(value) = file.$field {
                    // [LIM-11] Any of these may be set lower, and none higher.
                    if !($least..=$most).contains(&value) {
                        return Err(LimitError { key: $key, value, least: $least, most: $most });
                    }
                    limits.$field = $make(value);
                })+
                Ok(limits)
            }
        }
    };
}

limits! {
    /// From the opening of a request stream to its origin's LAYER frame; a handshake, too.
    header_timeout: Duration = Duration::from_millis, "header-timeout-ms", 1..=limits::HEADER_TIMEOUT * 1000;
    /// From the origin's LAYER frame to its END and FIN.
    body_timeout: Duration = Duration::from_millis, "body-timeout-ms", 1..=limits::BODY_TIMEOUT * 1000;
    /// From the origin's LAYER frame until `body_rate_min` is asked for.
    body_rate_grace: Duration = Duration::from_millis, "body-rate-grace-ms", 1..=limits::BODY_RATE_GRACE * 1000;
    /// Least mean rate of a body after its grace, bytes a second; 0 asks for none.
    body_rate_min: u64 = u64::from, "body-rate-min", 0..=limits::BODY_RATE_MIN;
    /// For a client to take an answer, for each write of a streamed one.
    answer_timeout: Duration = Duration::from_millis, "answer-timeout-ms", 1..=limits::ANSWER_TIMEOUT * 1000;
    /// A connection without packets.
    idle_timeout: Duration = Duration::from_millis, "idle-timeout-ms", 1..=limits::IDLE_TIMEOUT * 1000;
    /// Request streams that a client may have open at a time.
    request_streams: u64 = u64::from, "request-streams", 1..=limits::REQUEST_STREAMS;
    /// Request streams that a client may have open at a time before a token was accepted.
    stranger_streams: u64 = u64::from, "stranger-streams", 1..=limits::STRANGER_STREAMS;
    /// Streams of one connection that ended without an answer taken, beyond those with one.
    stream_resets_max: u64 = u64::from, "stream-resets-max", 0..=limits::STREAM_RESETS_MAX;
    /// Connections of the node.
    connections_max: u64 = u64::from, "connections-max", 1..=limits::CONNECTIONS_MAX;
    /// Connections from one IPv4 address or IPv6 /64.
    connections_per_address_max: u64 = u64::from, "connections-per-address-max", 1..=limits::CONNECTIONS_PER_ADDRESS_MAX;
    /// Handshakes in progress with addresses not validated, from which on Retry is asked for; 0: always.
    handshakes_retry: u64 = u64::from, "handshakes-retry", 0..=limits::HANDSHAKES_RETRY;
    /// Handshakes in progress in all.
    handshakes_max: u64 = u64::from, "handshakes-max", 1..=limits::HANDSHAKES_MAX;
    /// Requests that are dispatched and whose answer is not taken yet.
    in_flight_max: u64 = u64::from, "in-flight-max", 1..=limits::IN_FLIGHT_MAX;
    /// Request bodies held in memory, bytes.
    body_memory_max: u64 = u64::from, "body-memory-max", 1..=limits::BODY_MEMORY_MAX;
    /// Bodies of answers that are made ready or under way, bytes.
    answer_memory_max: u64 = u64::from, "answer-memory-max", 1..=limits::ANSWER_MEMORY_MAX;
    /// Unfinished request heads of one connection held in memory, bytes; AUTH and LAYER at their largest must fit.
    head_memory_max: u64 = u64::from, "head-memory-max", 131_072..=limits::HEAD_MEMORY_MAX;
    /// Largest body taken from a caller or a service, bytes.
    body_max: u64 = u64::from, "body-max", 0..=limits::BODY_MAX;
    /// Bad tokens or proofs on one connection.
    bad_tokens_max: u64 = u64::from, "bad-tokens-max", 0..=limits::BAD_TOKENS_MAX;
    /// QUIC receive window of a stream, bytes.
    stream_window: u64 = u64::from, "stream-window", 16_384..=limits::STREAM_WINDOW;
    /// QUIC receive and send window of a connection that proved a token, bytes.
    connection_window: u64 = u64::from, "connection-window", 16_384..=limits::CONNECTION_WINDOW;
    /// The same before a token was accepted, bytes.
    stranger_window: u64 = u64::from, "stranger-window", 16_384..=limits::STRANGER_WINDOW;
}

/// What a limit is in the file.
trait Number {
    fn number(self) -> u64;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }
}

impl Number for Duration {
    fn number(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A limit that is set above the registry's value, or below what makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{key} is {value}: choose {least} to {most}; cmtp-spec allows no more")]
#[non_exhaustive]
pub struct LimitError {
    /// The key in the file.
    pub key: &'static str,
    /// What was set.
    pub value: u64,
    /// The least that makes sense.
    pub least: u64,
    /// The registry's value, in the key's unit.
    pub most: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_lowered_and_never_raised() {
        // [LIM-11]
        let table = [
            ("header-timeout-ms = 9999", None),
            ("header-timeout-ms = 10000", None),
            ("header-timeout-ms = 10001", Some("limits.header-timeout-ms is 10001")),
            ("header-timeout-ms = 0", Some("choose 1 to 10000")),
            ("connections-max = 16385", Some("limits.connections-max is 16385")),
            ("head-memory-max = 1", Some("choose 131072 to 262144")),
            ("in-flight-max = -1", Some("in-flight-max")),
            ("hopes-max = 1", Some("hopes-max")),
        ];
        for (text, culprit) in table {
            let read = toml::from_str::<Limits>(text).map_err(|error| error.to_string());
            match culprit {
                None => assert!(read.is_ok(), "{text}: {read:?}"),
                Some(culprit) => {
                    assert!(read.as_ref().is_err_and(|text| text.contains(culprit)), "{read:?}");
                }
            }
        }
        assert_eq!(toml::from_str::<Limits>(""), Ok(Limits::default()));
    }
}
