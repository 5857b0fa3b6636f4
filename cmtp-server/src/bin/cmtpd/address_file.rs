//! `DATA/address`: where the node listens that runs on a data directory, for commands that ask it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use cmtp_client::{Existing, write_whole};

/// The file; it is removed when this is dropped.
pub(crate) struct Said(PathBuf);

/// Says that the node of `data` listens on `address`.
pub(crate) fn write(data: &Path, address: SocketAddr) -> Said {
    let said = Said(data.join(FILE));
    let text = format!("{address}\n");
    // A full disk keeps no node from starting; commands that ask it say that it can't be found.
    if let Err(error) = write_whole(&said.0, text.as_bytes(), Existing::Replace) {
        tracing::warn!(%error, path = %said.0.display(), "where the node listens can't be said");
        let _none_or_an_older_one = fs::remove_file(&said.0);
    }
    said
}

/// Where the node that runs on `data` is reached from this machine.
pub(crate) fn read(data: &Path) -> anyhow::Result<SocketAddr> {
    let path = data.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: the node that uses this directory does not listen yet, stops, or could not say where",
            path.display()
        )
    })?;
    let mut address: SocketAddr = text
        .trim_end()
        .parse()
        .map_err(|_foreign| anyhow!("{}: no address; start the node again", path.display()))?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

impl Drop for Said {
    fn drop(&mut self) {
        // One that is left over is not looked at: nobody holds the journal then.
        let _gone = fs::remove_file(&self.0);
    }
}

const FILE: &str = "address";
