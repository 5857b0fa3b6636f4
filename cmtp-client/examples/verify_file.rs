//! Judges a saved answer without the node, and shows who stands for which part of it.
//!
//!     cargo run -p cmtp-client --example verify_file -- answer.cmtp did:key:z6Mk…

use std::{env, fs};

use cmtp_client::{Style, tree};
use cmtp_codec::{ProcessVerdict, PublicKey, Unverified, Verdict};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [file, node] = &arguments[..] else { anyhow::bail!("arguments: FILE NODE'S-DID") };
    let node: PublicKey = node.parse()?;

    // Fails with the first place that does not hold.
    let replay = Unverified::from_stored(fs::read(file)?)?.verify(Some(&node))?;
    print!("{}", tree(&replay, Style::Plain));
    anyhow::ensure!(replay.verdict == Verdict::Authentic, "nothing ties it to that node");
    // Every hash may be right and a step left out all the same.
    anyhow::ensure!(replay.process == ProcessVerdict::Follows, "it did not go its opcode's way");
    Ok(())
}
