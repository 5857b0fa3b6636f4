//! `cmtp disclose`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use cmtp_client::{Existing, write_whole};
use cmtp_codec::{Body, Layer, Link, Name, PublicKey, Replay, Withheld};
use cmtp_spec::limits;

use crate::exit::{Exit, Failure, Outcome};
use crate::{terminal, verify};

/// Make a copy of a saved exchange that shows some private fields and hides the others.
///
/// Who gets the copy can verify it as the original: no hash changes, and each hidden part leaves a salted hash in its
/// place, from which nobody can find out what it was, not even by trying "yes" and "no". Bodies are hidden,
/// too, unless you say --body. Public fields (target, times, statuses, who acted) always show.
///
///   cmtp disclose answer.cmtp --field args -o shown.cmtp
///   cmtp disclose answer.cmtp --field x-age --field x-city --layer 0 -o shown.cmtp
///   cmtp disclose answer.cmtp --body -o shown.cmtp
///   cmtp verify shown.cmtp
///
/// Without --field all private fields are hidden. A name that no private field has is an error, which lists
/// those that there are.
///
/// Exit codes: 0, 2 for usage or a name that is not there, 4 where the exchange does not hold.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Disclose {
    /// A file that `cmtp call --save` or `cmtpd journal export` wrote.
    file: String,
    /// A private field that shows; may be repeated.
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,
    /// Show fields, and with --body the body, of this layer only: 0 is the request.
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// Show bodies.
    #[arg(long)]
    body: bool,
    /// Where the copy goes; replaced where there is one.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
}

impl Disclose {
    pub(crate) fn run(self) -> Outcome {
        terminal::check_folder("--output", &self.output)?;
        let bytes = terminal::read_file(&self.file, limits::STORED_MAX)?;
        // What does not hold is not passed on.
        let replay = verify::replay(&bytes, self.pin, None)
            .map_err(|fault| Failure::invalid(fault.context(format!("{}: invalid", self.file))))?;
        let withheld = self.withheld(&replay)?;
        let copy = replay.withhold(&withheld).untrusted().to_stored();
        let again = verify::replay(&copy, self.pin, None).map_err(Failure::invalid)?;
        // It proves what the original proves, or it is not handed out.
        if again.verdict != replay.verdict {
            return Err(Failure::invalid(anyhow!("the copy is only {:?}", again.verdict)));
        }
        write(&self.output, &copy)?;
        let shown = again.message.links.iter().filter_map(Link::layer).flat_map(fields).count();
        let hidden = withheld.len();
        terminal::write_line(&format!(
            "{}: {shown} private fields show, {hidden} parts are hidden",
            self.output.display()
        ))?;
        Ok(Exit::Success)
    }

    /// All that does not show.
    fn withheld(&self, replay: &Replay) -> anyhow::Result<Vec<Withheld>> {
        let layers = || {
            let links = replay.message.links.iter().enumerate();
            links.filter_map(|(number, link)| Some((number, link.layer()?)))
        };
        if let Some(number) = self.layer {
            let count = replay.message.links.len();
            ensure!(
                layers().any(|(known, _)| known == number),
                "--layer {number}: there are layers 0 to {}, and that is none of them, or withheld",
                count.saturating_sub(1)
            );
        }
        let is_meant = |number: usize| self.layer.is_none_or(|wanted| wanted == number);
        let wanted: BTreeSet<String> = self.field.iter().map(|it| it.to_lowercase()).collect();
        let there: BTreeSet<&str> = layers()
            .filter(|(number, _)| is_meant(*number))
            .flat_map(|(_, layer)| fields(layer))
            .map(Name::as_str)
            .collect();
        for name in &wanted {
            let listed: Vec<&str> = there.iter().copied().collect();
            let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
            ensure!(
                there.contains(name.as_str()),
                "--field {name}: no private field has that name; there are: {listed}"
            );
        }
        let mut withheld = Vec::new();
        for (number, layer) in layers() {
            for (place, private) in layer.private.iter().enumerate() {
                let Some(field) = private.field() else { continue };
                if !(is_meant(number) && wanted.contains(field.name.as_str())) {
                    withheld.push(Withheld::Field { layer: number, field: place });
                }
            }
            let has_body = matches!(layer.body, Body::Present { .. });
            if has_body && !(self.body && is_meant(number)) {
                withheld.push(Withheld::Body(number));
            }
        }
        Ok(withheld)
    }
}

/// Names of the private fields that are there.
fn fields(layer: &Layer) -> impl Iterator<Item = &Name> {
    layer.private.iter().filter_map(|private| private.field()).map(|field| &field.name)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_whole(path, bytes, Existing::Replace).with_context(|| path.display().to_string())
}
