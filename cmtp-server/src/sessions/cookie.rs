//! What a node has a client keep between two messages of the handshake. Nobody else can read or change it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use cmtp_codec::session::Transcript;
use cmtp_codec::{Digest, PublicKey};
use cmtp_spec::limits;

use crate::sessions::SessionFault;

/// Seals cookies and opens them.
#[derive(Debug)]
pub(crate) struct Cookies(Option<LessSafeKey>);

/// What a cookie holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// The messages so far: 2 after a call, 4 after a confirm.
    pub(crate) step: u8,
    /// th of that step.
    pub(crate) transcript: Digest,
    pub(crate) persona: PublicKey,
    /// When it was made, microseconds since 1970.
    pub(crate) made: u64,
    /// What else the next message needs.
    pub(crate) rest: Vec<u8>,
}

impl Cookies {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        // 32 bytes are a key.
        Self(UnboundKey::new(&AES_256_GCM, secret).ok().map(LessSafeKey::new))
    }

    /// Seals a cookie for the connection with this exporter value.
    pub(crate) fn seal(&self, cookie: &Cookie, exporter: &[u8; 32]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut text = Vec::with_capacity(HEAD + cookie.rest.len() + TAG);
        text.push(cookie.step);
        text.extend_from_slice(&cookie.made.to_be_bytes());
        text.extend_from_slice(&cookie.persona.0);
        text.extend_from_slice(&cookie.transcript.0);
        text.extend_from_slice(&cookie.rest);
        let aad = Aad::from(exporter);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.as_ref()?.seal_in_place_append_tag(unique, aad, &mut text).ok()?;
        Some([&nonce[..], &text].concat())
    }

    /// [SES-10] Refuses a cookie that is not its own, or was made on another connection, for another persona or step.
    pub(crate) fn open(
        &self,
        sealed: Option<&[u8]>,
        (exporter, persona, step): (&[u8; 32], &PublicKey, u8),
        now: u64,
    ) -> Result<Cookie, SessionFault> {
        let foreign = SessionFault::Cookie;
        let (nonce, text) = sealed.ok_or(foreign)?.split_first_chunk().ok_or(foreign)?;
        let mut text = text.to_vec();
        let key = self.0.as_ref().ok_or(foreign)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.open_in_place(nonce, Aad::from(exporter), &mut text);
        let text: &[u8] = text.map_err(|_not_ours| foreign)?;
        let (&[made_for], text) = text.split_first_chunk().ok_or(foreign)?;
        let (made, text) = text.split_first_chunk().ok_or(foreign)?;
        let (of, text) = text.split_first_chunk().ok_or(foreign)?;
        let (transcript, rest) = text.split_first_chunk().ok_or(foreign)?;
        if made_for != step || of != &persona.0 {
            return Err(foreign);
        }
        // [SES-10] Or longer than `session-cookie-lifetime` ago.
        let made = u64::from_be_bytes(*made);
        if now.saturating_sub(made) >= limits::SESSION_COOKIE_LIFETIME * 1_000_000 {
            return Err(SessionFault::CookieOld);
        }
        let transcript = Digest(*transcript);
        Ok(Cookie { step, transcript, persona: *persona, made, rest: rest.to_vec() })
    }
}

impl Cookie {
    pub(crate) const fn transcript(&self) -> Transcript {
        Transcript::resumed(self.step, self.transcript)
    }
}

/// Step, time, persona, transcript.
const HEAD: usize = 1 + 8 + 32 + 32;
const TAG: usize = 16;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_one_connection_persona_step_and_time() {
        // [SES-10]
        let cookies = Cookies::new(&[1; 32]);
        let persona = PublicKey([2; 32]);
        let transcript = Digest([3; 32]);
        let cookie = Cookie { step: 2, transcript, persona, made: 0, rest: vec![4] };
        let sealed = cookies.seal(&cookie, &[5; 32]).unwrap();
        let open = |cookies: &Cookies, sealed: &[u8], exporter, persona, step, now| {
            cookies.open(Some(sealed), (&exporter, &persona, step), now)
        };
        assert_eq!(open(&cookies, &sealed, [5; 32], persona, 2, 0), Ok(cookie));
        let foreign = Err(SessionFault::Cookie);
        assert_eq!(open(&cookies, &sealed, [6; 32], persona, 2, 0), foreign);
        assert_eq!(open(&cookies, &sealed, [5; 32], PublicKey([9; 32]), 2, 0), foreign);
        assert_eq!(open(&cookies, &sealed, [5; 32], persona, 4, 0), foreign);
        assert_eq!(open(&Cookies::new(&[9; 32]), &sealed, [5; 32], persona, 2, 0), foreign);
        assert_eq!(open(&cookies, &sealed[1..], [5; 32], persona, 2, 0), foreign);
        assert_eq!(open(&cookies, b"x", [5; 32], persona, 2, 0), foreign);
        let end = limits::SESSION_COOKIE_LIFETIME * 1_000_000;
        assert!(open(&cookies, &sealed, [5; 32], persona, 2, end - 1).is_ok());
        assert_eq!(open(&cookies, &sealed, [5; 32], persona, 2, end), Err(SessionFault::CookieOld));
    }
}
