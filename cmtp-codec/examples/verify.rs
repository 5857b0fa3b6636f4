//! An auditor's whole tool: judges a stored exchange with the codec alone. No network, no clock, no client library.
//!
//!     cargo run -p cmtp-codec --example verify -- answer.cmtp did:key:z6Mk…
//!
//! Ends with 0 where that node promised the message and nothing was changed since, else with 1 and the reason.

use std::process::ExitCode;
use std::{env, fs};

use cmtp_codec::{ProcessVerdict, PublicKey, Unverified, Verdict};

fn main() -> ExitCode {
    match judge(env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn judge(arguments: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let [file, node] = &arguments[..] else { return Err("arguments: FILE DID-OF-THE-NODE".into()) };
    let node: PublicKey = node.parse()?;
    let bytes = fs::read(file).map_err(|error| format!("{file}: {error}"))?;

    // Every hash, signature and the receipt anew; the error names the first place that does not hold.
    let replay = Unverified::from_stored(bytes)?.verify(Some(&node))?;
    for (number, link) in replay.message.links.iter().enumerate() {
        let grade = replay.grade(number).as_str();
        println!("{number} {:<8} {} {grade}", link.step().to_string(), link.actor());
    }
    println!("seal {}", replay.message.seal.hash);

    // Hashes that agree prove nothing by themselves: anybody can make such a chain.
    if replay.verdict != Verdict::Authentic {
        return Err("consistent, and nothing ties it to that node".into());
    }
    // Nor do they prove that no step was left out.
    match &replay.process {
        ProcessVerdict::Follows => {}
        ProcessVerdict::NotChecked => {
            println!("the opcode is withheld: its process was not checked")
        }
        ProcessVerdict::Breaks(deviation) => return Err(format!("process: {deviation}").into()),
    }
    println!("authentic");
    Ok(())
}
