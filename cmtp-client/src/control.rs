//! The node's control stream: SETTINGS, KEYS, GOAWAY. `cmtp-spec/spec/09-quic.md`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use cmtp_codec::log::{Growth, SignedCheckpoint};
use cmtp_codec::{DecodeError, DecodeErrorKind, Frame, FrameReader, KeyList, Verified};
use cmtp_spec::{CloseCode, JournalMode, SettingId, StreamType, limits};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::watch;

use crate::close;
use crate::known_logs::{KnownLogs, KnownLogsError, LogSeen};
use crate::stream_type::{StreamTypeError, read_stream_type};
use crate::trust::{Numbers, Untrusted};

/// What the node said of itself; what it did not say is as in `cmtp-spec/spec/15-limits.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Largest LAYER payload that the node takes, bytes.
    pub layer_frame_max: u64,
    /// Largest body that the node takes, bytes.
    pub body_max: u64,
    /// Seconds by which the time in a message id may differ from the node's clock.
    pub id_window: u64,
    /// The journal mode that the node uses where none is asked for, if it said.
    pub journal_mode: Option<JournalMode>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layer_frame_max: limits::LAYER_FRAME_MAX,
            body_max: limits::BODY_MAX,
            id_window: limits::ID_WINDOW,
            journal_mode: None,
        }
    }
}

impl Settings {
    fn read(pairs: &[(SettingId, u64)]) -> Self {
        let mut settings = Self::default();
        for &(id, value) in pairs {
            match id {
                SettingId::LAYER_FRAME_MAX => settings.layer_frame_max = value,
                SettingId::BODY_MAX => settings.body_max = value,
                SettingId::ID_WINDOW => settings.id_window = value,
                SettingId::JOURNAL_MODE => {
                    settings.journal_mode = u8::try_from(value).ok().map(JournalMode);
                }
                // [FRM-19] A receiver MUST ignore identifiers that it does not know.
                _ => {}
            }
        }
        settings
    }
}

/// What a connection is told of what stands on its control stream.
pub(crate) struct Told {
    keys: watch::Sender<Arc<Verified<KeyList>>>,
    numbers: Arc<Numbers>,
    goaway: watch::Sender<Option<u64>>,
    log: watch::Sender<Option<LogSeen>>,
}

/// Where a connection hears it.
pub(crate) struct Heard {
    pub(crate) keys: watch::Receiver<Arc<Verified<KeyList>>>,
    pub(crate) goaway: watch::Receiver<Option<u64>>,
    pub(crate) log: watch::Receiver<Option<LogSeen>>,
}

impl Told {
    pub(crate) fn channels(keys: Arc<Verified<KeyList>>, numbers: Arc<Numbers>) -> (Self, Heard) {
        let (keys, listed) = watch::channel(keys);
        let (goaway, going_away) = watch::channel(None);
        let (log, seen) = watch::channel(None);
        let heard = Heard { keys: listed, goaway: going_away, log: seen };
        (Self { keys, numbers, goaway, log }, heard)
    }

    /// [NKY-7] A client MUST check a later KEYS as the first.
    fn take_keys(&self, newer: KeyList) -> Result<(), Untrusted> {
        let newer = newer.verify()?;
        let root = self.keys.borrow().root;
        if newer.root != root {
            return Err(Untrusted::OtherNode { expected: root, shown: newer.root });
        }
        // [RCP-2] Whose number is lower than one that it saw from that root key.
        self.numbers.raise(&root, newer.number)?;
        // Another connection may have been shown a newer one; this one is of this connection, and as new as any.
        self.keys.send_replace(Arc::new(newer));
        Ok(())
    }
}

/// Asks a node to show its log, and judges what it shows.
pub(crate) struct LogKeeper {
    pub(crate) logs: Arc<KnownLogs>,
    pub(crate) keys: watch::Receiver<Arc<Verified<KeyList>>>,
}

impl LogKeeper {
    /// [QUI-27] Says on a control stream of one's own how many leaves are known of the node's log.
    ///
    /// The stream, which has to stay open, and what is known.
    async fn ask(
        &self,
        connection: &quinn::Connection,
    ) -> (Result<SendStream, WriteError>, Option<SignedCheckpoint>) {
        // What can't be read now is said when it is to be compared.
        let node = self.keys.borrow().root;
        let known = self.logs.last(&node).ok().flatten();
        let size = known.as_ref().map_or(0, |known| known.untrusted().size);
        (self.say(connection, size).await, known)
    }

    async fn say(
        &self,
        connection: &quinn::Connection,
        known: u64,
    ) -> Result<SendStream, WriteError> {
        let mut stream = connection.open_uni().await?;
        let mut out = BytesMut::new();
        // A stream type below 64 is a varint of one byte.
        out.put_uint(StreamType::CONTROL.0, 1);
        Frame::Settings(vec![(SettingId::LOG_SIZE, known)]).encode(&mut out);
        stream.write_all(&out).await?;
        Ok(stream)
    }

    async fn take(&self, asked: Option<SignedCheckpoint>, shown: Growth) -> LogSeen {
        let (logs, keys) = (Arc::clone(&self.logs), Arc::clone(&self.keys.borrow()));
        // It is written to a disk, which may take its time.
        let taken =
            tokio::task::spawn_blocking(move || logs.take(&keys, asked.as_ref(), &shown)).await;
        taken.unwrap_or_else(|panicked| {
            let (path, source) = (PathBuf::new(), io::Error::other(panicked));
            LogSeen::Unknown(Arc::new(KnownLogsError::Io { path, source }))
        })
    }
}

/// The node's control stream.
#[derive(Debug)]
pub(crate) struct Control {
    stream: RecvStream,
    reader: FrameReader,
}

impl Control {
    /// Waits for the node's control stream and what it begins with.
    pub(crate) async fn open(
        connection: &quinn::Connection,
    ) -> Result<(Self, Settings, KeyList), ControlError> {
        let stream = loop {
            let mut stream = connection.accept_uni().await?;
            if is_control(&mut stream).await? {
                break stream;
            }
        };
        let mut control = Self { stream, reader: FrameReader::new(STREAM_TYPE_LENGTH) };
        // [QUI-6] SETTINGS and then KEYS as its first two frames.
        let Frame::Settings(pairs) = control.next().await? else {
            return Err(ControlError::NoSettings);
        };
        match control.next().await? {
            Frame::Keys(keys) => Ok((control, Settings::read(&pairs), keys)),
            // [QUI-7] A second SETTINGS MUST end the connection.
            Frame::Settings(_) => Err(ControlError::SecondSettings),
            _ => Err(ControlError::NoKeys),
        }
    }

    /// Waits for the next key list; nothing else may come before it.
    pub(crate) async fn keys(&mut self) -> Result<KeyList, ControlError> {
        match self.next().await? {
            Frame::Keys(keys) => Ok(keys),
            _ => Err(ControlError::NoKeys),
        }
    }

    /// Reads on until the connection ends, and ends it where the node breaks a rule.
    pub(crate) async fn watch(
        mut self,
        connection: quinn::Connection,
        keeper: LogKeeper,
        told: Told,
    ) {
        let Told { goaway, log, .. } = &told;
        // Kept as long as the connection: a control stream that ends is an error.
        let (own, asked) = keeper.ask(&connection).await;
        loop {
            let broken = tokio::select! {
                frame = self.next() => match frame {
                    Ok(Frame::Goaway(stream)) => {
                        // [QUI-24] A later GOAWAY MUST NOT carry a larger id.
                        if goaway.borrow().is_none_or(|before| stream <= before) {
                            goaway.send_replace(Some(stream));
                            continue;
                        }
                        ControlError::GoawayRaised
                    }
                    Ok(Frame::Checkpoint(growth)) if own.is_ok() => {
                        let seen = keeper.take(asked.clone(), *growth).await;
                        let broken = matches!(seen, LogSeen::Broken(_));
                        log.send_replace(Some(seen));
                        if broken {
                            // [QUI-28] A client MUST NOT go on with a node whose log is smaller or forked.
                            connection.close(close::varint(CloseCode::UNTRUSTED), b"");
                        }
                        continue;
                    }
                    // [QUI-6] A later KEYS announces a newer list.
                    Ok(Frame::Keys(newer)) => {
                        if let Err(error) = told.take_keys(newer) {
                            // [NKY-7] And MUST close the connection where it does not hold.
                            let code = close::varint(CloseCode::UNTRUSTED);
                            connection.close(code, error.to_string().as_bytes());
                        }
                        continue;
                    }
                    // [QUI-7] A second SETTINGS MUST end the connection.
                    Ok(Frame::Settings(_)) => ControlError::SecondSettings,
                    // [FRM-5] A known frame on a stream where its row does not list it is an error.
                    Ok(_) => ControlError::Unexpected,
                    Err(error) => error,
                },
                stream = connection.accept_uni() => {
                    let Ok(stream) = stream else { return };
                    tokio::spawn(refuse_control(connection.clone(), stream));
                    continue;
                }
            };
            broken.close(&connection);
            return;
        }
    }

    async fn next(&mut self) -> Result<Frame, ControlError> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(frame);
            }
            match self.stream.read_chunk(READ_AT_ONCE, true).await? {
                Some(chunk) => self.reader.push_bytes(chunk.bytes),
                // [QUI-7] A control stream that ends MUST end the connection.
                None => return Err(ControlError::Ended),
            }
        }
    }
}

/// Why a node's control stream is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The connection went away.
    #[error("the connection was lost: {0}")]
    Connection(#[from] ConnectionError),
    /// The stream could not be read.
    #[error("the node's control stream: {0}")]
    Read(#[from] ReadError),
    /// The stream ended.
    #[error("the node's control stream ended")]
    Ended,
    /// The stream's bytes are no frames.
    #[error("the node's control stream, {0}")]
    Malformed(#[from] DecodeError),
    /// The stream does not begin with SETTINGS.
    #[error("the node's control stream does not begin with SETTINGS")]
    NoSettings,
    /// SETTINGS came twice.
    #[error("the node sent SETTINGS twice")]
    SecondSettings,
    /// KEYS is not the second frame.
    #[error("the node did not send KEYS after SETTINGS")]
    NoKeys,
    /// A frame that has no place on a control stream.
    #[error("the node sent a frame that has no place on a control stream")]
    Unexpected,
    /// A unidirectional stream of the node begins with bytes that are no type.
    #[error("the type of one of the node's streams: {0}")]
    StreamType(DecodeErrorKind),
    /// GOAWAY named a later stream than the one before.
    #[error("the node takes back that it does not process requests")]
    GoawayRaised,
    /// The node opened two control streams.
    #[error("the node opened a second control stream")]
    SecondStream,
}

impl ControlError {
    /// Whether another connection may fare better: only where this one was lost.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Read(_) | Self::Ended)
    }

    /// Ends the connection with the code that names the fault.
    pub(crate) fn close(&self, connection: &quinn::Connection) {
        // [QUI-8] An error on a control stream ends the connection with the code that names it.
        connection.close(close::varint(self.code()), self.to_string().as_bytes());
    }

    const fn code(&self) -> CloseCode {
        match self {
            Self::Connection(_) => CloseCode::NO_ERROR,
            Self::Read(_) | Self::Ended => CloseCode::CLOSED_CRITICAL_STREAM,
            Self::Malformed(error) => error.kind.close_code(),
            // [QUI-5] A type that is malformed ends the connection.
            Self::StreamType(kind) => kind.close_code(),
            Self::NoSettings | Self::SecondSettings => CloseCode::SETTINGS,
            Self::NoKeys | Self::Unexpected | Self::GoawayRaised => CloseCode::UNEXPECTED,
            Self::SecondStream => CloseCode::STREAM_CREATION,
        }
    }
}

/// Reads the stream's type; a stream of another type is not read on.
async fn is_control(stream: &mut RecvStream) -> Result<bool, ControlError> {
    match read_stream_type(stream).await {
        Ok(StreamType::CONTROL) => Ok(true),
        // [QUI-5] A receiver of an unknown type MUST NOT treat it as an error; it stops reading it (STOP_SENDING).
        Ok(_) | Err(StreamTypeError::Ended | StreamTypeError::Read(ReadError::Reset(_))) => {
            // Where the stream is over already there is nothing to stop.
            let _over = stream.stop(close::varint(CloseCode::STREAM_CREATION));
            Ok(false)
        }
        Err(StreamTypeError::Malformed(kind)) => Err(ControlError::StreamType(kind)),
        Err(StreamTypeError::Read(error)) => Err(ControlError::Read(error)),
    }
}

/// Takes care of a unidirectional stream that came after the control stream.
async fn refuse_control(connection: quinn::Connection, mut stream: RecvStream) {
    match is_control(&mut stream).await {
        // [QUI-7] A second control stream MUST end the connection.
        Ok(true) => ControlError::SecondStream.close(&connection),
        Ok(false) => {}
        Err(error) => error.close(&connection),
    }
}

/// Bytes of the control stream's type.
const STREAM_TYPE_LENGTH: u64 = 1;
/// Bytes taken from QUIC at once; SETTINGS and KEYS of a usual node fit.
const READ_AT_ONCE: usize = 2_048;
