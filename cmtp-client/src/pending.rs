//! Requests that outlive the process which made them: `cmtp-spec/spec/14-idempotency.md`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cmtp_codec::{
    Assembler, Chain, DecodeError, DecodeErrorKind, FrameReader, Layer, Link, LinkError, Part,
    PublicKey, Source,
};
use cmtp_spec::{FieldIndex, limits};

use crate::answer::Answer;
use crate::home::{Existing, directory_of, sync_directory, write_whole};
use crate::identity::Identity;
use crate::request::PreparedRequest;

impl PreparedRequest {
    /// The request as bytes, to be sent again after this process has ended: [`PreparedRequest::from_bytes`] reads them.
    ///
    /// They hold all that is sent: arguments, private fields and the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&MAGIC);
        out.put_u8(VERSION);
        out.put_slice(&self.head().0);
        self.origin.encode(&mut out);
        out.freeze()
    }

    /// Reads a request that `identity` made and kept; it counts as one that may have been sent.
    ///
    /// # Errors
    /// [`RestoreError`] where these are not, byte for byte, what was kept.
    pub fn from_bytes(bytes: impl Into<Bytes>, identity: &Identity) -> Result<Self, RestoreError> {
        let bytes = bytes.into();
        let rest = bytes.strip_prefix(&MAGIC).ok_or(RestoreError::NoRequest)?;
        let (&version, rest) = rest.split_first().ok_or(RestoreError::NoRequest)?;
        if version != VERSION {
            return Err(RestoreError::OtherVersion { version });
        }
        let (head, rest) = rest.split_first_chunk::<32>().ok_or(RestoreError::NoRequest)?;
        let start = bytes.len() - rest.len();
        let origin = read_origin(bytes.slice(start..), start as u64)?;
        if origin.actor != identity.did() {
            return Err(RestoreError::OtherCaller { actor: origin.actor });
        }
        let mut chain = Chain::default();
        // [LAY-9] The signature is checked, too.
        let hash = chain.push(&Link::Layer(origin.clone()))?;
        // [IDM-6] A client that sends a request again MUST send the same origin bytes.
        if hash.0 != *head {
            return Err(RestoreError::OtherHead);
        }
        let lacks = |index| RestoreError::Lacks(index);
        let (id, not_after, audience) =
            (FieldIndex::MESSAGE_ID, FieldIndex::NOT_AFTER, FieldIndex::AUDIENCE);
        Ok(Self {
            message_id: origin.fixed(id).ok_or(lacks(id))?,
            not_after: origin.number(not_after).ok_or(lacks(not_after))?,
            audience: origin.key(audience).ok_or(lacks(audience))?,
            chain,
            origin: Arc::new(origin),
            sent_before: true,
        })
    }
}

/// A request in a file, from before it is sent until it has its final answer.
///
/// Who finds the file after a crash sends what is in it, and nothing new: so a write is executed once.
///
/// ```no_run
/// # async fn example(channel: cmtp_client::Channel, identity: cmtp_client::Identity) -> Result<(), Box<dyn std::error::Error>> {
/// use cmtp_client::{Pending, Request};
/// use cmtp_codec::Fqmn;
///
/// let file = "order-7.pending".as_ref();
/// let pending = match Pending::load(file, &identity)? {
///     Some(pending) => pending,
///     None => {
///         let order = Request::new(Fqmn::parse("0xEW:orders.created")?).body("7");
///         Pending::keep(file, channel.prepare(order).await?)?
///     }
/// };
/// let answer = channel.send(pending.request()).await?;
/// println!("{}", answer.status());
/// pending.settle(&answer)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    request: PreparedRequest,
}

impl Pending {
    /// The request that `path` holds, where it is there.
    ///
    /// # Errors
    /// [`PendingError`] where the file can't be read, or holds no request of `identity`.
    pub fn load(path: &Path, identity: &Identity) -> Result<Option<Self>, PendingError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(limits::STORED_MAX).read_to_end(&mut bytes)?;
        let request = PreparedRequest::from_bytes(bytes, identity)?;
        Ok(Some(Self { path: path.to_owned(), request }))
    }

    /// Writes `request` to a new file, readable by its owner only, and durable once this returns: so it can be sent.
    ///
    /// # Errors
    /// The file system's; [`io::ErrorKind::AlreadyExists`] where the file is there.
    pub fn keep(path: &Path, request: PreparedRequest) -> io::Result<Self> {
        write_whole(path, &request.to_bytes(), Existing::Keep)?;
        Ok(Self { path: path.to_owned(), request })
    }

    /// The request.
    pub const fn request(&self) -> &PreparedRequest {
        &self.request
    }

    /// Removes the file if `answer` is final; whether it did. Else the same bytes may get a better answer.
    ///
    /// # Errors
    /// The file system's.
    pub fn settle(self, answer: &Answer) -> io::Result<bool> {
        if !answer.is_final() {
            return Ok(false);
        }
        fs::remove_file(&self.path)?;
        sync_directory(directory_of(&self.path))?;
        Ok(true)
    }
}

/// Why a file is no pending request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PendingError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Why bytes are no request that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Something else, or cut off before the request.
    #[error("it holds no request that was kept")]
    NoRequest,
    /// A later program's.
    #[error("it was kept in version {version} of the format; this program knows {VERSION}")]
    OtherVersion {
        /// The version.
        version: u8,
    },
    /// Bytes that break a rule.
    #[error("the request that was kept is damaged: {0}")]
    Malformed(#[from] DecodeError),
    /// Somebody else's request.
    #[error("the request was made by {actor}, which is not your identity")]
    OtherCaller {
        /// Who made it.
        actor: PublicKey,
    },
    /// A signature that does not hold.
    #[error("the request that was kept is damaged: {0}")]
    Link(#[from] LinkError),
    /// The bytes were changed.
    #[error("the request that was kept is damaged: its hash is another")]
    OtherHead,
    /// A field that every origin has.
    #[error("the request that was kept is damaged: it lacks the field {0}")]
    Lacks(FieldIndex),
}

/// Reads an origin and nothing else.
fn read_origin(frames: Bytes, base: u64) -> Result<Layer, RestoreError> {
    let end = base + frames.len() as u64;
    let mut reader = FrameReader::new(base);
    reader.push_bytes(frames);
    // A node says by itself what it takes.
    let mut assembler = Assembler::new(Source::Request, limits::STORED_MAX);
    let mut origin = None;
    loop {
        let start = reader.offset();
        let here = |kind: DecodeErrorKind| DecodeError { kind, offset: start };
        let Some(frame) = reader.next_frame()? else { break };
        match assembler.take(frame).map_err(here)? {
            Some(Part::Link(link)) => origin = link.layer().cloned(),
            // How the token is shown is no part of a request.
            Some(Part::Auth(_)) => return Err(here(DecodeErrorKind::Unexpected).into()),
            _ => {}
        }
    }
    let cut = DecodeError { kind: DecodeErrorKind::EndsEarly, offset: end };
    if reader.is_within_frame() {
        return Err(cut.into());
    }
    assembler.finish().map_err(|kind| DecodeError { kind, offset: end })?;
    origin.ok_or(RestoreError::Malformed(cut))
}

/// No text, and no stored message.
const MAGIC: [u8; 8] = *b"\x89CMTPrq\n";
/// Version of the format; L_0 and the origin's frames follow.
const VERSION: u8 = 1;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cmtp_codec::Fqmn;
    use cmtp_spec::{CloseCode, Status, binding};

    use super::*;
    use crate::channel::Channel;
    use crate::client::{Client, ClientConfig};
    use crate::clock;
    use crate::close;
    use crate::request::Request;
    use crate::testing::{CALLER, FakeNode, NODE, Sample, signing_key};
    use crate::trust::Trust;

    fn identity() -> Identity {
        Identity::from_seed(&[CALLER; 32]).unwrap()
    }

    fn prepared() -> PreparedRequest {
        let target = Fqmn::parse(r#"0xSW:a:b:["x"]"#).unwrap();
        let request = Request::new(target).body(vec![7; 40_000]);
        request.prepare(&identity(), signing_key(NODE).public(), clock::now()).unwrap()
    }

    #[test]
    fn a_request_reads_back_byte_for_byte() {
        // [IDM-6]
        for request in [Sample::request(), prepared()] {
            let bytes = request.to_bytes();
            let read = PreparedRequest::from_bytes(bytes.clone(), &identity()).unwrap();
            assert_eq!(read.origin(), request.origin());
            assert_eq!((read.head(), read.message_id()), (request.head(), request.message_id()));
            assert_eq!(
                (read.not_after(), read.audience()),
                (request.not_after(), request.audience())
            );
            assert_eq!((read.target(), read.args()), (request.target(), request.args()));
            assert!(read.may_have_been_sent() && !request.may_have_been_sent());
            assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn what_was_changed_or_is_somebody_elses_is_not_sent() {
        let bytes = Sample::request().to_bytes();
        let read = |bytes: Vec<u8>| PreparedRequest::from_bytes(bytes, &identity());
        for length in 0..bytes.len() {
            assert!(read(bytes[..length].to_vec()).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(read(changed).is_err(), "{at}");
        }
        assert!(read([&bytes[..], &bytes[..]].concat()).is_err());
        let mut later = bytes.to_vec();
        later[MAGIC.len()] = 2;
        assert_eq!(read(later).unwrap_err(), RestoreError::OtherVersion { version: 2 });
        let other = Identity::from_seed(&[9; 32]).unwrap();
        let error = PreparedRequest::from_bytes(bytes, &other).unwrap_err();
        assert_eq!(error, RestoreError::OtherCaller { actor: identity().did() });
    }

    #[tokio::test]
    async fn a_pending_request_survives_until_its_final_answer() {
        // [IDM-6]
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pending");
        assert!(Pending::load(&path, &identity()).unwrap().is_none());
        let node = FakeNode::listen(NODE, binding::ALPN);
        // Each process begins anew.
        let process = || {
            let client = Client::new(ClientConfig::new(Arc::new(identity()))).unwrap();
            Channel::new(client, "127.0.0.1", node.address().port(), Trust::FirstUse)
        };
        let first = process();
        let request = Request::new(Fqmn::parse("0xS:echo").unwrap()).body("hello");
        let request = request.valid_for(Duration::from_secs(60));
        let script = async {
            let (peer, control) = node.greet().await;
            (peer.request().await, peer, control)
        };
        let call = async {
            let pending = Pending::keep(&path, first.prepare(request).await.unwrap()).unwrap();
            // The process ends while it waits: what follows never comes.
            first.send(pending.request()).await
        };
        let origin = tokio::select! {
            answer = call => unreachable!("{answer:?}"),
            (request, ..) = script => request.origin,
        };
        drop(first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }

        // Full, for longer than the second process waits; then the answer, for the third.
        let full = Sample { retry_after: Some(300), ..Sample::refusal(Status::UNAVAILABLE) };
        for (sample, settled) in [(full, false), (Sample::answer(), true)] {
            let pending = Pending::load(&path, &identity()).unwrap().unwrap();
            let again = process();
            let script = async {
                let (peer, control) = node.greet().await;
                let request = peer.request().await;
                assert_eq!(request.origin, origin);
                let Sample { exporter, token, .. } = peer.answer();
                request.answer(&Sample { exporter, token, ..sample }).await;
                (peer, control)
            };
            let (answer, (peer, _control)) = tokio::join!(again.send(pending.request()), script);
            assert_eq!(pending.settle(&answer.unwrap()).unwrap(), settled);
            assert_eq!(path.exists(), !settled);
            peer.quic.close(close::varint(CloseCode::NO_ERROR), b"");
        }
    }
}
