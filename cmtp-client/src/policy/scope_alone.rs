//! What stands in the place of Cedar where it was not built in: nobody judges, and files that ask for it are refused.

use cmtp_codec::PolicyFiles;

use crate::policy::error::PolicyError;
use crate::policy::question::{Decision, Question};

/// A judge that there is none of.
#[derive(Clone, Debug)]
pub(crate) enum Judge {}

impl Judge {
    pub(crate) fn of(files: &PolicyFiles) -> Result<Option<Self>, PolicyError> {
        if files.is_empty() { Ok(None) } else { Err(PolicyError::NotBuilt) }
    }

    pub(crate) fn decide(&self, _question: &Question<'_>) -> Decision {
        match *self {}
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}
