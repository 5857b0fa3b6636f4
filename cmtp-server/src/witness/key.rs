//! The witness's secret key, on disk.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cmtp_client::Existing;
use cmtp_codec::log::NoteSigner;
use cmtp_codec::{SignatureError, SigningKey};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::witness::{KIND, WitnessError, default_name, write};

/// The key, under a name.
#[derive(Debug)]
pub struct WitnessKey(NoteSigner);

impl WitnessKey {
    /// Reads the key in `data`, and makes one where there is none. Without a name it gets one of its own.
    ///
    /// # Errors
    /// [`WitnessError`] names the file, or says what a name may be.
    pub fn load_or_create(data: &Path, name: Option<&str>) -> Result<Self, WitnessError> {
        let path = data.join(FILE);
        let io = |source| WitnessError::Io { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut seed = [0; 32];
                aws_lc_rs::rand::fill(&mut seed).map_err(|_no_entropy| SignatureError::Mismatch)?;
                fs::create_dir_all(data).map_err(io)?;
                let text = format!("{HEADER}{}\n", HEXLOWER_PERMISSIVE.encode(&seed));
                match write(&path, &text, Existing::Keep) {
                    // Whoever is second takes the other's key.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    written => written.map_err(io)?,
                }
                fs::read_to_string(&path).map_err(io)?
            }
            read => read.map_err(io)?,
        };
        let seed = parse(&text).ok_or_else(|| WitnessError::Key { path: path.clone() })?;
        let key = SigningKey::from_seed(&seed)?;
        let name = name.map_or_else(|| default_name(&key.public()), str::to_owned);
        Ok(Self(NoteSigner::new(name, KIND, key)?))
    }

    /// What signs.
    pub fn into_signer(self) -> NoteSigner {
        self.0
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let hex = text.trim_end().strip_prefix(HEADER)?;
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

const FILE: &str = "witness.key";
const HEADER: &str = "cmtp-witness-key-v0 ";
