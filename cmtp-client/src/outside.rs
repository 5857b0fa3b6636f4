//! What binds an outside issuer's token to a persona: `cmtp-spec/spec/24-issuers.md`.

use cmtp_codec::{Digest, PublicKey};
use cmtp_spec::tags;
use data_encoding::BASE64URL_NOPAD;

/// The `nonce` to ask an outside issuer for, so that its token is this persona's and nobody else's.
///
/// ```
/// let persona = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse()?;
/// assert_eq!(cmtp_client::outside_nonce(&persona).len(), 43);
/// # Ok::<(), cmtp_codec::DidError>(())
/// ```
pub fn outside_nonce(persona: &PublicKey) -> String {
    // [ISS-12] base64url of H(tag ‖ persona's key 32), without padding.
    let preimage = [&tags::OUTSIDE_NONCE[..], &persona.0].concat();
    BASE64URL_NOPAD.encode(&Digest::of(&preimage).0)
}
