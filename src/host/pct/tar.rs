//! Tar archives: configurations come in one, scripts go in one. Names and lengths stand apart
//! from contents, so that nothing a file holds can be taken for another file.

/// A plain file in an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// Whether it can be run.
    pub(super) runs: bool,
}

const BLOCK: usize = 512;
/// The longest name that an entry has here.
pub(super) const NAME_MAX: usize = 100;

/// The plain files of an archive; none if it is damaged or cut off.
pub(super) fn read(archive: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = archive;
    while let Some((header, behind)) = rest.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Some(entries);
        }
        let length = usize::try_from(octal(&header[124..136])?).ok()?;
        let padded = length.checked_next_multiple_of(BLOCK)?;
        let (content, behind) = behind.split_at_checked(padded)?;
        if matches!(header[156], 0 | b'0') {
            entries.push(Entry {
                name: text(&header[..NAME_MAX])?,
                content: content[..length].to_vec(),
                runs: octal(&header[100..108])? & 0o100 != 0,
            });
        }
        rest = behind;
    }
    // The end must be there: without it the archive is cut off.
    None
}

fn text(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0);
    let text = &field[..end.unwrap_or(field.len())];
    String::from_utf8(text.to_vec()).ok()
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field)?;
    u64::from_str_radix(text.trim(), 8).ok()
}

/// An archive of files. A name that is too long for it is left out by the caller.
pub(super) fn write(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        archive.extend_from_slice(&header(entry));
        archive.extend_from_slice(&entry.content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(entry: &Entry) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, &entry.name);
    put(100, if entry.runs { "0000700" } else { "0000600" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", entry.content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::process::Job;
    use super::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (
            "[a-z0-9/._-]{1,100}",
            prop::collection::vec(any::<u8>(), 0..1500),
            any::<bool>(),
        );
        let entry = entry.prop_map(|(name, content, runs)| Entry {
            name,
            content,
            runs,
        });
        prop::collection::vec(entry, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in entries()) {
            prop_assert_eq!(read(&write(&entries)), Some(entries));
        }

        #[test]
        fn what_is_cut_off_is_noticed(entries in entries(), share in 0.0..1.0_f64) {
            let archive = write(&entries);
            let body = archive.len() - 2 * BLOCK;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the archive")]
            let cut = (body as f64 * share) as usize;
            prop_assume!(cut > 0 && cut < body);
            prop_assert_eq!(read(&archive[..cut]), None);
        }

        #[test]
        fn anything_can_be_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn tar_itself_writes_and_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("pve1/lxc")).expect("made");
        std::fs::write(dir.path().join("pve1/lxc/100.conf"), "memory: 512\n").expect("written");
        std::fs::write(dir.path().join("pve1/lxc/101.conf"), "").expect("written");
        let place = dir.path().to_str().expect("a text");
        let made = [
            "tar",
            "-C",
            place,
            "-cf",
            "-",
            "-b",
            "1",
            "--format=gnu",
            "pve1/lxc/100.conf",
            "pve1/lxc/101.conf",
        ];
        let made = Job::new(made).finish().expect("it runs");
        let entries = read(&made.stdout).expect("an archive");
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.name.as_str(), e.content.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [
                ("pve1/lxc/100.conf", b"memory: 512\n".as_slice()),
                ("pve1/lxc/101.conf", b"")
            ]
        );

        let ours = dir.path().join("ours.tar");
        let entry = Entry {
            name: "bin/x.sh".to_owned(),
            content: b"#!/bin/sh\necho ran\n".to_vec(),
            runs: true,
        };
        std::fs::write(&ours, write(&[entry])).expect("written");
        let ours = ours.to_str().expect("a text");
        Job::new(["tar", "-C", place, "-xf", ours])
            .run()
            .expect("it is unpacked");
        let ran = Job::new([dir.path().join("bin/x.sh")])
            .run()
            .expect("it runs");
        assert_eq!(ran.stdout, "ran\n");
    }
}
