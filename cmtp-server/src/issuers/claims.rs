//! What a token says of a persona, once its signature and its claims hold.

use cmtp_client::outside_nonce;
use cmtp_client::policy::Subject;
use cmtp_codec::PublicKey;
use cmtp_spec::limits;
use serde_json::{Map, Value};

use super::error::{IssuerError, IssuerRefusal};
use super::keys::KeySet;
use super::token::{OutsideToken, shown};
use crate::config::{Binding, IssuerSettings};

/// Judges a token of this issuer at `now`, seconds since 1970. Without a persona its nonce is not looked at.
pub(super) fn judge(
    token: &OutsideToken<'_>,
    settings: &IssuerSettings,
    keys: &KeySet,
    persona: Option<&PublicKey>,
    now: u64,
) -> Result<Subject, IssuerRefusal> {
    // [ISS-5] `alg` MUST be one of the issuer's algorithms.
    let allowed = settings.algorithms.iter().find(|it| it.to_string() == token.algorithm);
    let algorithm = allowed.ok_or_else(|| IssuerError::Algorithm.on(&token.algorithm))?;
    keys.verify(token, algorithm.jws())?;
    let claims = &token.claims;
    check_audience(claims, &settings.audience)?;
    check_times(claims, settings.max_age, now)?;
    if let (Binding::Nonce, Some(persona)) = (settings.bind, persona) {
        // [ISS-12] The claim `nonce` MUST be base64url of H(tag ‖ persona's key 32).
        let wanted = outside_nonce(persona);
        if claims.get("nonce").and_then(Value::as_str) != Some(&wanted) {
            let nonce = shown(claims.get("nonce"));
            return Err(IssuerError::Nonce.on(format_args!("{nonce}, not {wanted:?}")));
        }
    }
    subject(claims, settings)
}

fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), IssuerRefusal> {
    // [ISS-10] `aud` MUST be the audience, or a list of texts with the audience in it.
    let is_ours = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => {
            all.iter().all(Value::is_string) && all.iter().any(|one| one.as_str() == Some(audience))
        }
        _ => false,
    };
    if is_ours {
        return Ok(());
    }
    let aud = shown(claims.get("aud"));
    Err(IssuerError::Audience.on(format_args!("aud is {aud}, not {audience:?}")))
}

fn check_times(claims: &Map<String, Value>, max_age: u64, now: u64) -> Result<(), IssuerRefusal> {
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(time) => match time.as_u64() {
            Some(time) => Ok(Some(time)),
            None => Err(IssuerError::Times.on(format_args!("{name} is {time}"))),
        },
    };
    let must = |name: &'static str| {
        time(name)?.ok_or_else(|| IssuerError::Times.on(format_args!("{name} is missing")))
    };
    // [ISS-11] `iat` and `exp` MUST be there.
    let (iat, exp, nbf) = (must("iat")?, must("exp")?, time("nbf")?);
    let leeway = limits::OUTSIDE_LEEWAY;
    // [ISS-11] And iat ≤ now + S, now < exp + S, now − iat ≤ max-age + S; where there is `nbf`, nbf ≤ now + S.
    for (name, time) in [("iat", Some(iat)), ("nbf", nbf)] {
        if let Some(ahead) = time.and_then(|time| time.checked_sub(now)).filter(|it| *it > leeway) {
            return Err(IssuerError::NotYet.on(format_args!("{name} lies {ahead} s ahead")));
        }
    }
    if now >= exp.saturating_add(leeway) {
        let since = now.saturating_sub(exp);
        return Err(IssuerError::Expired.on(format_args!("{since} s ago")));
    }
    let age = now.saturating_sub(iat);
    if age > max_age.saturating_add(leeway) {
        let detail = format_args!("{age} s ago, {max_age} s are allowed");
        return Err(IssuerError::TooOld.on(detail));
    }
    Ok(())
}

fn subject(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
) -> Result<Subject, IssuerRefusal> {
    let mut subject = Subject::default();
    if let Some(path) = &settings.groups
        && let Some(claim) = find(claims, path)
    {
        let texts: Option<Vec<&str>> =
            claim.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        let texts = texts.filter(|texts| texts.iter().all(|text| is_plain(text)));
        let texts =
            texts.ok_or_else(|| IssuerError::Groups.on(format_args!("{path} is {claim}")))?;
        for text in texts {
            // [ISS-13] Each becomes the group NAME/TEXT.
            subject.groups.insert(within(format!("{}/{text}", settings.name))?);
        }
    }
    for (attribute, path) in &settings.attributes {
        let Some(claim) = find(claims, path) else { continue };
        let value = match claim {
            Value::String(text) if is_plain(text) => text.clone(),
            Value::Bool(_) => claim.to_string(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return Err(IssuerError::Attribute.on(format_args!("{path} is {claim}"))),
        };
        subject.attributes.insert(attribute.clone(), within(value)?);
    }
    // [ISS-13] A node MUST refuse a token with more than `groups-max`; nothing is cut.
    let count = subject.groups.len();
    if count as u64 > limits::GROUPS_MAX {
        let max = limits::GROUPS_MAX;
        return Err(IssuerError::Excess.on(format_args!("{count} groups, {max} at most")));
    }
    Ok(subject)
}

/// The claim of a path: the member of the whole name, or the one that the path leads to.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(claim) = claims.get(path) {
        return Some(claim);
    }
    let (first, rest) = path.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Neither empty nor with what a terminal or a line of a log would act on.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

fn within(text: String) -> Result<String, IssuerRefusal> {
    // [ISS-13] Or longer ones than `attribute-max` allows.
    if text.len() as u64 <= limits::ATTRIBUTE_MAX {
        return Ok(text);
    }
    let (length, max) = (text.len(), limits::ATTRIBUTE_MAX);
    Err(IssuerError::Excess.on(format_args!("{text:?} has {length} bytes, {max} at most")))
}
