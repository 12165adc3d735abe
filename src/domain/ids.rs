//! Identifiers: containers, runs, content digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A container id. Proxmox VE accepts 100 to 999999999 (`pct`: "value does not look like a valid
/// VM ID" below 100).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Ctid(u32);

/// A number outside of [`Ctid::MIN`]`..=`[`Ctid::MAX`], or no number at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a container id (a whole number from 100 to 999999999)")]
pub struct InvalidCtid(pub String);

impl Ctid {
    /// The smallest id Proxmox VE accepts.
    pub const MIN: u32 = 100;
    /// The largest id Proxmox VE accepts.
    pub const MAX: u32 = 999_999_999;

    /// The id as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Ctid {
    type Error = InvalidCtid;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        if (Self::MIN..=Self::MAX).contains(&value) {
            Ok(Self(value))
        } else {
            Err(InvalidCtid(value.to_string()))
        }
    }
}

impl From<Ctid> for u32 {
    fn from(value: Ctid) -> Self {
        value.0
    }
}

impl FromStr for Ctid {
    type Err = InvalidCtid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidCtid(text.to_owned());
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        text.parse::<u32>()
            .map_err(|_| bad())
            .and_then(|n| Self::try_from(n).map_err(|_| bad()))
    }
}

impl fmt::Display for Ctid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Ctid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One run of `phoenix apply`, from its start until it is finished; a resumed run keeps its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// No run: used where something is planned, not done.
    pub const NONE: Self = Self(Uuid::nil());
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What identifies one journal; part of the mark on what phoenix created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct JournalId(pub Uuid);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The first 128 bits of a SHA-256: tells contents apart, proves nothing against an attacker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let full = Sha256::digest(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(short)
    }

    /// The digest of several parts, so that `["ab", "c"]` differs from `["a", "bc"]`.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
        Self::of(&all)
    }

    /// Twelve characters: enough for a person.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Every event and every container has some: written at once, not byte by byte.
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a digest (32 hexadecimal digits)")]
pub struct InvalidDigest(String);

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = u128::from_str_radix(&text, 16);
        match number {
            Ok(number) if text.len() == 32 && !text.starts_with('+') => {
                Ok(Self(number.to_be_bytes()))
            }
            _ => Err(InvalidDigest(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctid_takes_what_proxmox_takes() {
        assert_eq!("100".parse::<Ctid>().map(Ctid::get), Ok(100));
        assert_eq!("999999999".parse::<Ctid>().map(Ctid::get), Ok(999_999_999));
        for bad in ["99", "1000000000", "abc", "", "-100", "+100", " 100"] {
            assert!(bad.parse::<Ctid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_round_trips_as_hex() {
        let digest = Digest::of(b"phoenix");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert_eq!(
            Digest(*b"\x00\x01\x0f\x10\x9a\xf0\xffunwritten").to_string(),
            "00010f109af0ff756e7772697474656e"
        );
        assert!(Digest::try_from("xyz".to_owned()).is_err());
    }

    #[test]
    fn parts_do_not_run_together() {
        let one = Digest::of_parts([b"ab".as_slice(), b"c"]);
        let other = Digest::of_parts([b"a".as_slice(), b"bc"]);
        assert_ne!(one, other);
    }
}
