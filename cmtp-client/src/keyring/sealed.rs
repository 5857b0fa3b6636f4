//! Secrets under a passphrase: age (age-encryption.org/v1) with scrypt, as text, which `age -d` opens, too.

use std::io::{self, Read, Write};
use std::iter;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use zeroize::Zeroizing;

use crate::keyring::passphrase::Passphrase;

/// Why a file does not open.
pub(crate) enum Sealed {
    /// Another passphrase made it.
    WrongPassphrase,
    /// Its work factor is above [`WORK_MAX`].
    TooMuchWork(u8),
    /// It is damaged, or made for something else than a passphrase.
    Malformed(String),
}

/// Whether the bytes are an age file, armored or not.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    [ARMOR, BINARY].iter().any(|head| bytes.starts_with(head))
}

/// Encrypts a text.
pub(crate) fn seal(text: &str, passphrase: &Passphrase) -> io::Result<Vec<u8>> {
    let mut recipient = scrypt::Recipient::new(passphrase.secret());
    recipient.set_work_factor(WORK);
    let recipients = iter::once(&recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(text.as_bytes())?;
    writer.finish()?.finish()
}

/// Decrypts what [`seal`] or another age made, which is no longer than what comes out.
pub(crate) fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<String>, Sealed> {
    let malformed = |error: &dyn std::fmt::Display| Sealed::Malformed(error.to_string());
    let decryptor = Decryptor::new(ArmoredReader::new(bytes)).map_err(|error| malformed(&error))?;
    if !decryptor.is_scrypt() {
        let what = "it is encrypted to a key, and not under a passphrase";
        return Err(Sealed::Malformed(what.to_owned()));
    }
    let mut identity = scrypt::Identity::new(passphrase.secret());
    identity.set_max_work_factor(WORK_MAX);
    let reader = decryptor.decrypt(iter::once(&identity as &dyn age::Identity));
    let mut reader = reader.map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => Sealed::TooMuchWork(required),
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            Sealed::WrongPassphrase
        }
        error => malformed(&error),
    })?;
    // So long that it never grows, which would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(bytes.len()));
    reader.read_to_string(&mut text).map_err(|error| malformed(&error))?;
    Ok(text)
}

const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const BINARY: &[u8] = b"age-encryption.org/v1";
/// Binary logarithm of scrypt's N: with r = 8 a guess costs 2^17 × 1 KiB = 128 MiB, and about half a second.
const WORK: u8 = if cfg!(test) { 2 } else { 17 };
/// 1 GiB, and some seconds; from 2^24 on it would be minutes.
const WORK_MAX: u8 = 20;
