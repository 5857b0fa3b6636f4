//! The bus behind nodes: how it is reached, and how keys travel over it. `cmtp-spec/spec/11-nats.md`.

use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectOptions, ServerAddr};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use percent_encoding::percent_decode_str;

pub use sealing::{OpenedKeys, SealError, SealingKey, seal_keys};

mod sealing;

/// Connects to a NATS server; `url` may hold `user:password@` or `token@`, and `name` is what the server's operator sees.
///
/// The connection mends itself afterwards. Replies come to a prefix of this connection's own, which can't be guessed.
///
/// # Errors
/// [`ConnectError`] where there is no server within five seconds, or it lets nobody in with these credentials.
pub async fn connect(url: &str, name: &str) -> Result<Client, ConnectError> {
    connect_with(url, ConnectOptions::new().name(name).custom_inbox_prefix(inbox_prefix())).await
}

/// The same with options of the caller's own, to which credentials are added.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(url: &str, options: ConnectOptions) -> Result<Client, ConnectError> {
    let options = options.connection_timeout(CONNECT_TIMEOUT);
    match url.parse::<ServerAddr>() {
        Ok(address) => {
            let (options, address) = with_credentials(options, address);
            options.connect(address).await
        }
        // The library says what is wrong with it.
        Err(_no_address) => options.connect(url).await,
    }
}

/// A prefix for the replies of one connection, which can't be guessed and so not be listened on by chance.
pub fn inbox_prefix() -> String {
    let mut nonce = [0; 16];
    // Without entropy the library's own, random inboxes are still there; the prefix is then no secret.
    let _no_entropy = rand::fill(&mut nonce);
    format!("_INBOX_{}", HEXLOWER.encode(&nonce))
}

/// The URL without its credentials, for logs and people.
pub fn without_credentials(url: &str) -> String {
    match url.parse::<ServerAddr>() {
        Ok(address) => cleared(&address).into_inner().to_string(),
        Err(_no_address) => url.rsplit('@').next().unwrap_or(url).to_owned(),
    }
}

/// Takes user information out of the URL, which the library logs and does not use: `user:password`, or a token alone.
fn with_credentials(options: ConnectOptions, address: ServerAddr) -> (ConnectOptions, ServerAddr) {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let options = match (address.username().map(decoded), address.password().map(decoded)) {
        (Some(user), Some(password)) => options.user_and_password(user, password),
        (Some(token), None) => options.token(token),
        (None, _) => options,
    };
    (options, cleared(&address))
}

fn cleared(address: &ServerAddr) -> ServerAddr {
    let mut url = address.clone().into_inner();
    // A URL that can't lose its user information can't have any.
    let _cleared = url.set_username("").and_then(|()| url.set_password(None));
    ServerAddr::from_url(url).unwrap_or_else(|_no_server| address.clone())
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_shown_to_nobody() {
        let table = [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://ann:secret@host:4222", "nats://host:4222"),
            ("tls://token@host:4222", "tls://host:4222"),
            ("ann:secret@no url", "no url"),
        ];
        for (url, shown) in table {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
