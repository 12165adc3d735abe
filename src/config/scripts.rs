//! Finds the scripts that the configuration names, and reads each once.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::desired::Place;
use crate::domain::ids::Digest;

/// A script larger than this is a mistake.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The directory of scripts.
pub(super) struct Scripts {
    bin: PathBuf,
    files: HashMap<PathBuf, Content>,
    features: HashMap<String, Lookup>,
}

/// What a search for a script yields.
#[derive(Clone, Debug)]
pub(super) enum Lookup {
    /// It is there.
    Found {
        /// Where it runs.
        place: Place,
        /// The file.
        path: PathBuf,
        /// Digest of the file.
        content: Digest,
    },
    /// It cannot be used.
    Problem {
        /// Why.
        message: String,
        /// What to do.
        help: String,
    },
}

#[derive(Clone)]
enum Content {
    Digest(Digest),
    Missing,
    Unusable(String),
}

impl Scripts {
    /// With an empty memory.
    pub(super) fn new(bin: PathBuf) -> Self {
        Self {
            bin,
            files: HashMap::new(),
            features: HashMap::new(),
        }
    }

    /// The script of a feature: one that runs in the container is taken before one that runs on
    /// the host.
    pub(super) fn feature(&mut self, name: &str) -> Lookup {
        if let Some(known) = self.features.get(name) {
            return known.clone();
        }
        let found = self.find_feature(name);
        self.features.insert(name.to_owned(), found.clone());
        found
    }

    fn find_feature(&mut self, name: &str) -> Lookup {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(plain) {
            return Lookup::Problem {
                message: format!("'{name}' cannot be the name of a feature"),
                help: "letters, digits, '-', '_' and '.', a letter or digit first".to_owned(),
            };
        }
        let inside = self.bin.join("features").join(format!("{name}.sh"));
        let on_host = format!("phoenix_hypervisor_feature_install_{name}.sh");
        let on_host = self.bin.join("lxc_setup").join(on_host);
        for (place, path) in [(Place::Container, &inside), (Place::Host, &on_host)] {
            match self.read(path) {
                Content::Missing => {}
                content => return lookup(place, path, content),
            }
        }
        Lookup::Problem {
            message: format!("the script of the feature '{name}' is missing"),
            help: format!(
                "make {} (runs in the container) or {} (runs on the host)",
                inside.display(),
                on_host.display()
            ),
        }
    }

    /// An application script.
    pub(super) fn application(&mut self, text: &str) -> Lookup {
        let parts = || text.split('/');
        let leaves = parts().any(|part| matches!(part, "" | "." | ".."));
        if leaves || text.chars().any(|c| c.is_control() || c == '\\') {
            return Lookup::Problem {
                message: format!("'{text}' is not the name of a file in bin/"),
                help: "write it relative to bin/, without '..'".to_owned(),
            };
        }
        let path = self.bin.join(text);
        match self.read(&path) {
            Content::Missing => Lookup::Problem {
                message: format!("the script '{text}' is missing"),
                help: format!("make {}", path.display()),
            },
            content => lookup(Place::Container, &path, content),
        }
    }

    fn read(&mut self, path: &Path) -> Content {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let content = match digest(path) {
            Ok(digest) => Content::Digest(digest),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
            Err(error) => Content::Unusable(error.to_string()),
        };
        self.files.insert(path.to_owned(), content.clone());
        content
    }
}

fn lookup(place: Place, path: &Path, content: Content) -> Lookup {
    match content {
        Content::Digest(content) => Lookup::Found {
            place,
            path: path.to_owned(),
            content,
        },
        Content::Missing => Lookup::Problem {
            message: format!("'{}' is missing", path.display()),
            help: "make it".to_owned(),
        },
        Content::Unusable(why) => Lookup::Problem {
            message: format!("cannot read the script '{}': {why}", path.display()),
            help: "make it a readable file".to_owned(),
        },
    }
}

fn digest(path: &Path) -> io::Result<Digest> {
    let facts = std::fs::metadata(path)?;
    if !facts.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if facts.len() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than {MAX_BYTES} bytes"
        )));
    }
    std::fs::read(path).map(|bytes| Digest::of(&bytes))
}
