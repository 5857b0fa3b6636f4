//! Trust is a type: what acts on something takes it [`Verified`], and only a `verify` makes one.

use std::ops::Deref;

/// Something that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// To be called by a `verify` once it is sure.
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value; that it was checked is forgotten.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Something that came from elsewhere and was not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T>(T);

impl<T> Unverified<T> {
    /// Marks `value` as not checked.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Looks at the value although nobody checked it: for display and diagnosis, never to act on.
    pub const fn untrusted(&self) -> &T {
        &self.0
    }

    /// Takes the value although nobody checked it.
    pub fn into_untrusted(self) -> T {
        self.0
    }
}
