//! Reads the declarations: JSON files become a [`DesiredState`], or a list of everything that is
//! wrong with them.
//!
//! The files are read once. Types are checked by the decoder, meanings by `lower` container by
//! container, and by `checks` over the whole. A finding names a place in a document; lines are
//! looked up only when there is something to say.

mod checks;
mod decode;
mod directories;
mod document;
mod findings;
mod graph;
mod keys;
mod limits;
mod lower;
mod raw;
mod raw_host;
mod read;
mod read_host;
mod scalar;
mod schema;
mod scripts;
mod secrets;
mod sources;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::desired::DesiredState;
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::ids::Digest;
use crate::domain::secret::TooMany;

use findings::{File, Findings};
use scripts::Scripts;

pub use schema::{schema_hypervisor, schema_lxc};
pub use sources::Sources;

/// What a directory declares.
#[derive(Debug)]
pub struct Loaded {
    /// The declared world. Where there are errors it has gaps: only for use without them.
    pub desired: DesiredState,
    /// Everything there is to say about the files, by file and line.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts, to say where something found later was declared.
    pub sources: Sources,
}

impl Loaded {
    /// Whether nothing may be changed because of what the files say.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|found| found.severity == Severity::Error)
    }
}

/// The files cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such directory.
    #[error("'{}' is not a directory; --config names the directory with {HYPERVISOR_FILE} and {LXC_FILE}, or the one above it with etc/ and bin/", .0.display())]
    NoDirectory(PathBuf),
    /// A file is missing.
    #[error("'{}' is missing; --config names the directory with {HYPERVISOR_FILE} and {LXC_FILE}, or the one above it with etc/ and bin/", .0.display())]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("cannot read '{}'; look at its permissions and at those of its directories", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are too many secrets in the files.
    #[error(transparent)]
    Secrets(#[from] TooMany),
    /// A name that the journal cannot hold.
    #[error("the path '{}' is not valid UTF-8; move the configuration to a directory whose name is", .0.display())]
    BadPath(PathBuf),
}

const HYPERVISOR_FILE: &str = "phoenix_hypervisor_config.json";
const LXC_FILE: &str = "phoenix_lxc_configs.json";
const VM_FILE: &str = "phoenix_vm_configs.json";

fn file_name(file: File) -> &'static str {
    match file {
        File::Hypervisor => HYPERVISOR_FILE,
        File::Lxc => LXC_FILE,
        File::Vm => VM_FILE,
    }
}

/// Reads the files of a directory: the one that holds them, or the one above it with `etc/` and
/// `bin/`.
///
/// # Errors
/// Only when a file cannot be had at all. What is wrong inside of one is a diagnostic.
pub fn load(dir: &Path) -> Result<Loaded, ConfigError> {
    let (etc, bin) = directories(dir)?;
    let mut findings = Findings::default();
    let mut sources = Sources::default();
    for (file, required) in [
        (File::Hypervisor, true),
        (File::Lxc, true),
        (File::Vm, false),
    ] {
        let path = etc.join(file_name(file));
        let Some(bytes) = read_file(&path, required)? else {
            continue;
        };
        let text = read::text(file, bytes, &mut findings);
        sources.add_file(file, path.display().to_string(), Arc::from(text));
    }
    let texts = [File::Hypervisor, File::Lxc, File::Vm].map(|file| sources.text(file));
    let mut scripts = Scripts::new(bin);
    let mut desired = {
        let [hypervisor, lxc, vm] = [&texts[0], &texts[1], &texts[2]].map(|text| text.as_deref());
        let world = read::world([hypervisor, lxc, vm], &mut findings, &mut sources)?;
        lower::lower(&world, &mut findings, &mut scripts)
    };
    let canonical = canonical(&desired).map_err(|_| ConfigError::BadPath(dir.to_owned()))?;
    desired.digest = Some(Digest::of(&canonical));
    let mut diagnostics = sources.place(findings.close());
    for found in &mut diagnostics {
        desired.secrets.scrub_in(&mut found.message);
        found
            .help
            .iter_mut()
            .for_each(|help| desired.secrets.scrub_in(help));
    }
    Ok(Loaded {
        desired,
        diagnostics,
        sources,
    })
}

/// What is declared, in one form for all spellings, without secrets: a digest of a short one would
/// tell it to whoever can try them all.
fn canonical(desired: &DesiredState) -> serde_json::Result<Vec<u8>> {
    if desired.secrets.is_empty() {
        return serde_json::to_vec(&(&desired.containers, &desired.storages));
    }
    let containers = desired.containers.iter();
    let open = containers.map(|(ctid, container)| (*ctid, desired.secrets.redacted(container)));
    serde_json::to_vec(&(open.collect::<BTreeMap<_, _>>(), &desired.storages))
}

/// Where the files are, and where the scripts.
fn directories(dir: &Path) -> Result<(PathBuf, PathBuf), ConfigError> {
    if !dir.is_dir() {
        return Err(ConfigError::NoDirectory(dir.to_owned()));
    }
    let holds_files =
        |dir: &Path| dir.join(LXC_FILE).exists() || dir.join(HYPERVISOR_FILE).exists();
    let (etc, bin) = if !holds_files(dir) && holds_files(&dir.join("etc")) {
        (dir.join("etc"), dir.join("bin"))
    } else {
        let above = dir
            .canonicalize()
            .ok()
            .and_then(|real| Some(real.parent()?.join("bin")));
        let bin = above
            .filter(|bin| bin.is_dir())
            .unwrap_or_else(|| dir.join("bin"));
        (dir.to_owned(), bin)
    };
    // The journal keeps the paths of scripts: they must mean the same from everywhere.
    let bin = std::path::absolute(&bin).unwrap_or(bin);
    let bin = bin.canonicalize().unwrap_or(bin);
    if bin.to_str().is_none() {
        return Err(ConfigError::BadPath(bin));
    }
    Ok((etc, bin))
}

/// Reads a regular file. A pipe would make phoenix wait for whoever writes into it, a device may
/// never end. It is opened without waiting, so that nobody can change it in between.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_file(path: &Path, required: bool) -> Result<Option<Vec<u8>>, ConfigError> {
    match read_regular(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && required => {
            Err(ConfigError::Missing(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}
