//! An outside token, taken apart; nothing of it is believed yet.

use cmtp_spec::limits;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::error::{IssuerError, IssuerRefusal};
use super::json;

/// The parts of a token.
#[derive(Debug)]
pub(super) struct OutsideToken<'a> {
    pub(super) algorithm: String,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
    /// Header and claims as they were signed.
    pub(super) signed: &'a str,
    /// Base64url.
    pub(super) signature: &'a str,
}

impl<'a> OutsideToken<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, IssuerRefusal> {
        // [ISS-2] A node MUST refuse a token longer than `outside-token-max`.
        if token.len() as u64 > limits::OUTSIDE_TOKEN_MAX {
            let (length, max) = (token.len(), limits::OUTSIDE_TOKEN_MAX);
            return Err(IssuerError::TooLong.on(format_args!("{length} bytes, {max} at most")));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let ([header, claims, signature], Some((signed, _))) =
            (parts.as_slice(), token.rsplit_once('.'))
        else {
            return Err(IssuerError::Encoding.on(format_args!("parts: {}, and not 3", parts.len())));
        };
        let header = decode("header", header)?;
        let claims = decode("claims", claims)?;
        decode("signature", signature)?;
        let header = object("header", &header)?;
        check_header(&header)?;
        let text = |name: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(IssuerError::Header.on(format_args!("{name} is {other}"))),
        };
        let algorithm = text("alg")?.ok_or_else(|| IssuerError::Header.on("alg is missing"))?;
        let kid = text("kid")?;
        Ok(Self { algorithm, kid, claims: object("claims", &claims)?, signed, signature })
    }

    /// [ISS-4] Whether `iss` equals the claim byte for byte.
    pub(super) fn is_of(&self, iss: &str) -> bool {
        self.claims.get("iss").and_then(Value::as_str) == Some(iss)
    }

    pub(super) fn refuse_issuer(&self, wanted: &str) -> IssuerRefusal {
        IssuerError::Issuer
            .on(format_args!("iss is {}, not {wanted}", shown(self.claims.get("iss"))))
    }
}

/// A claim as a refusal shows it.
pub(super) fn shown(claim: Option<&Value>) -> String {
    claim.map_or_else(|| "missing".to_owned(), Value::to_string)
}

fn decode(name: &str, part: &str) -> Result<Vec<u8>, IssuerRefusal> {
    // [ISS-2] Canonical base64url without padding; this decoder refuses stray bits.
    let decoded = BASE64URL_NOPAD.decode(part.as_bytes());
    decoded.map_err(|error| IssuerError::Encoding.on(format_args!("{name}: {error}")))
}

fn object(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, IssuerRefusal> {
    json::object(bytes).map_err(|error| IssuerError::Json.on(format_args!("{name}: {error}")))
}

fn check_header(header: &Map<String, Value>) -> Result<(), IssuerRefusal> {
    // [ISS-3] A node MUST refuse a header with one of these.
    if let Some(member) = NEVER.iter().find(|member| header.contains_key(**member)) {
        return Err(IssuerError::Header.on(member));
    }
    let is_known = match header.get("typ") {
        None => true,
        Some(Value::String(typ)) => {
            let typ = typ.to_ascii_lowercase();
            TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
        }
        Some(_) => false,
    };
    // [ISS-3] And one whose `typ`, where there is one, is neither `JWT` nor `at+jwt`.
    if is_known { Ok(()) } else { Err(IssuerError::Type.on(shown(header.get("typ")))) }
}

const NEVER: [&str; 6] = ["jwk", "jku", "x5u", "x5c", "crit", "b64"];
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
