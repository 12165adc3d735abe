//! A file of which a part can be read alone and is checked nevertheless: the body stands in
//! pieces, each of which has its hash in front of it, and one seal covers those.
//!
//! ```text
//!  0  seal     32  SHA-256 over what the file is good for, the head, and all that is in front
//!                  of the body
//! 32  head         of a length that both sides know
//!     length    8  of the body, big-endian
//!     hashes   32  SHA-256 of each piece
//!     body
//! ```

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::record::{HASH, Hash};

const LENGTH: usize = 8;
/// Bytes of a piece; of the last, at most.
const PIECE: usize = 16 * 1024;
/// No body is larger: what is known of a million containers is not.
const LARGEST: usize = 1 << 31;

/// The body of such a file.
#[derive(Debug)]
pub(super) struct Body {
    file: File,
    start: usize,
    length: usize,
    hashes: Vec<u8>,
}

/// The content of a file; `scope` is what it is good for.
pub(super) fn sealed(scope: &Sha256, head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut rest = head.to_vec();
    rest.extend_from_slice(&(body.len() as u64).to_be_bytes());
    for piece in body.chunks(PIECE) {
        rest.extend_from_slice(&Sha256::digest(piece));
    }
    let seal = seal(scope, &rest);
    [&seal, rest.as_slice(), body].concat()
}

fn seal(scope: &Sha256, front: &[u8]) -> Hash {
    scope.clone().chain_update(front).finalize().into()
}

/// The head and the body of a file, if what is in front of the body is what was written, and
/// written for this scope.
pub(super) fn open<const HEAD: usize>(scope: &Sha256, file: File) -> Option<([u8; HEAD], Body)> {
    let whole = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut fixed = vec![0; HASH + HEAD + LENGTH];
    file.read_exact_at(&mut fixed, 0).ok()?;
    let (found, front) = fixed.split_first_chunk::<HASH>()?;
    let (head, length) = front.split_first_chunk::<HEAD>()?;
    let length = usize::try_from(u64::from_be_bytes(*length.first_chunk()?)).ok()?;
    let hashes = HASH.checked_mul(length.div_ceil(PIECE))?;
    let start = fixed.len().checked_add(hashes)?;
    // Before so much memory is asked for; a file may have holes.
    if length > LARGEST || start.checked_add(length)? != whole {
        return None;
    }
    let (found, head) = (*found, *head);
    let mut front = fixed.split_off(HASH);
    let known = front.len();
    front.resize(known + hashes, 0);
    let at = (HASH + known) as u64;
    file.read_exact_at(&mut front[known..], at).ok()?;
    if seal(scope, &front) != found {
        return None;
    }
    let body = Body {
        file,
        start,
        length,
        hashes: front.split_off(known),
    };
    Some((head, body))
}

impl Body {
    /// A part of it; none: it cannot be read, or is not what was written.
    pub(super) fn read(&self, part: Range<usize>) -> Option<Vec<u8>> {
        if part.start > part.end || part.end > self.length {
            return None;
        }
        let pieces = part.start / PIECE..part.end.div_ceil(PIECE);
        let from = pieces.start * PIECE;
        let mut bytes = vec![0; (pieces.end * PIECE).min(self.length).saturating_sub(from)];
        let at = (self.start + from) as u64;
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let hashes = self.hashes.chunks_exact(HASH).skip(pieces.start);
        let whole = bytes
            .chunks(PIECE)
            .zip(hashes)
            .all(|(piece, hash)| Sha256::digest(piece).as_slice() == hash);
        if !whole {
            return None;
        }
        bytes.truncate(part.end - from);
        Some(bytes.split_off(part.start - from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [u8; 3] = *b"abc";

    fn scope(of: &str) -> Sha256 {
        Sha256::new().chain_update(of)
    }

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    fn body() -> Vec<u8> {
        (0..3 * PIECE + 17).map(|n| (n * n / 7) as u8).collect()
    }

    #[test]
    fn every_part_is_what_was_written() {
        let body = body();
        let content = sealed(&scope("x"), &HEAD, &body);
        let (head, found) = open::<3>(&scope("x"), file(&content)).unwrap();
        assert_eq!(head, HEAD);
        let ends = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, body.len()];
        for start in ends {
            for end in ends {
                let wanted = body.get(start..end).map(<[u8]>::to_vec);
                assert_eq!(found.read(start..end), wanted, "{start}..{end}");
            }
        }
        assert_eq!(found.read(0..body.len() + 1), None);
        assert!(open::<3>(&scope("y"), file(&content)).is_none());
        let nothing = sealed(&scope("x"), &HEAD, b"");
        let (_, nothing) = open::<3>(&scope("x"), file(&nothing)).unwrap();
        assert_eq!(nothing.read(0..0), Some(Vec::new()));
    }

    #[test]
    fn whatever_is_damaged_is_not_read() {
        let body = body();
        let content = sealed(&scope("x"), &HEAD, &body);
        let start = content.len() - body.len();
        for place in (0..content.len()).filter(|place| *place < start || place % 97 == 0) {
            let mut damaged = content.clone();
            damaged[place] ^= 1;
            let found = open::<3>(&scope("x"), file(&damaged));
            assert_eq!(found.is_some(), place >= start, "{place}");
            let Some((_, found)) = found else { continue };
            let piece = (place - start) / PIECE;
            for other in 0..4 {
                let part = other * PIECE..(other * PIECE + 17);
                let told = found.read(part.clone());
                assert_eq!(told.is_some(), other != piece, "{place}, {part:?}");
            }
        }
        for length in [0, 1, HASH, start - 1, start, content.len() - 1] {
            assert!(open::<3>(&scope("x"), file(&content[..length])).is_none());
        }
    }
}
